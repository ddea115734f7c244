// Package workload verifies tokens that an issuer gives to jobs: a workflow of Forgejo
// or GitHub Actions can authenticate without a stored key.
//
//	issuer.go     an issuer: its keys, fetched when they are needed and no more often
//	verify.go     a token: its signature, its issuer, its times
//	claims.go     what a token says, bounded, and matched against patterns
//	condition.go  a condition in CEL over the claims
//	template.go   {claims.NAME} in the names of users and groups
//	rule.go       which tokens are somebody here, and who
//	private.go    issuers that are not open to everybody: their authority, keys, and a token
//	wellknown.go  issuers that strangers share
//
// A token is believed if a key that its issuer publishes has signed it by RS256, ES256
// or EdDSA, if its iss is the issuer to the last slash, and if it is for now. It gets
// an identity if a rule holds: the audience, every claim, and the condition. A claim
// that is missing or a condition that cannot be evaluated never passes.
//
// It does not know what a workload may do. Its users have names that no person can
// have, because they have a colon.
//
//	issuer := workload.New("https://forge.example.org/api/actions", workload.Config{})
//	rule, err := workload.Rule{Audience: []string{"registry.example.org"}, Groups: []string{"ci"}}.Compile(issuer.URL())
//	claims, err := issuer.Verify(ctx, token)
//	err = rule.Holds(claims)
//	who, err := rule.Who(claims)
package workload
