// Package identity finds out who is asking, and keeps what that needs: API keys and
// what is known about users.
//
//	records.go     a kind of record: durable in a bucket, all of it in memory
//	store.go       the records of one storage, open
//	secret.go      how an API key looks
//	verify.go      who presents a key
//	keys.go        API keys: made, verified, revoked
//	users.go       people: their groups, and whether they are disabled
//	credential.go  what a caller presents
//	connection.go  how it came: whether others could have read it
//	local.go       users of the configuration, who have passwords
//	passwords.go   compares passwords, in an order that keeps nobody out
//	chain.go       verifies a credential by the one way that its kind has
//	gate.go        what a site takes for a credential at all
//
// A record is durable before its change is acknowledged, and acts from then on: a
// key that was revoked is refused on the very next request. Nothing on the path of a
// request touches the disk.
//
// What it knows is policies.Identity: who, in which groups, by which credential.
// What they may do is none of its business.
//
//	store, err := identity.Open(ctx, bucket, identity.Options{Log: log})
//	secret, key, err := store.Keys().Create(ctx, identity.NewKey{User: "zot-ci", Service: true, Groups: []string{"artifact-workloads"}})
//	who, err := store.KeyIdentity(secret, nil)
package identity
