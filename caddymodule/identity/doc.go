// Package identity authenticates callers, and keeps the records for that: API keys
// and users.
//
//	records.go     a kind of record: durable in a bucket, all of it in memory
//	store.go       the records of one storage, open
//	secret.go      the form of an API key
//	verify.go      checks a presented key
//	keys.go        API keys: made, verified, revoked
//	users.go       people: their groups, and whether they are disabled
//	credential.go  the credential that a caller presents
//	connection.go  how the request arrived: whether others could have read it
//	local.go       users of the configuration, who have passwords
//	passwords.go   compares passwords, in an order that does not lock users out
//	chain.go       verifies a credential in the way of its kind
//	gate.go        which credentials a site accepts
//
// A record is durable before its change is acknowledged, and takes effect then: a
// revoked key is refused on the very next request. The path of a request does not
// touch the disk.
//
// Its result is a policies.Identity: the user, the groups, and the credential. It does not decide
// permissions.
//
//	store, err := identity.Open(ctx, bucket, identity.Config{Log: log})
//	secret, key, err := store.Keys().Create(ctx, identity.NewKey{User: "zot-ci", Service: true, Groups: []string{"artifact-workloads"}})
//	who, err := store.KeyIdentity(secret, nil)
package identity
