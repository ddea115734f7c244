// Package token is the token endpoint of the distribution protocol, and the keys that
// sign its tokens.
//
//	signer.go     signs and verifies registry tokens
//	verified.go   tokens whose signature was already verified
//	signing.go    the signing keys: kept in a bucket, rotated with an overlap
//	endpoint.go   /token: parameters, grants, the answer
//	scope.go      the announced purpose of a client's token
//
// A registry token names the caller and the credential, never their rights: the credential is
// looked up and the policy is evaluated on each request, so that a revoked key, or a changed
// policy, takes effect at once. A token of this package therefore gives no right, and may live
// for an hour.
//
// It does not know which credentials exist: package identity does.
package token
