// Package token is the token endpoint of the distribution protocol, and the keys that
// sign its tokens.
//
//	signer.go     signs and verifies registry tokens
//	verified.go   tokens whose signature was good already
//	signing.go    the signing keys: kept in a bucket, rotated with an overlap
//	endpoint.go   /token: parameters, grants, the answer
//	scope.go      what a client says it is about to do
//
// A registry token says who asks and by which credential, never what they may do: the
// credential is looked up and the policy is asked on each request, so that a key that
// was revoked, or a policy that was changed, acts at once. A token of this package
// therefore gives nobody a right, and may live for an hour.
//
// It does not know which credentials there are: that is package identity's.
package token
