// Package workload verifies tokens that an issuer gives to jobs: a workflow of Forgejo
// or GitHub Actions can authenticate without a stored key.
//
//	issuer.go     an issuer: its keys, fetched when they are needed and no more often
//	verify.go     a token: its signature, its issuer, its times
//	claims.go     the claims of a token, bounded, and matched against patterns
//	condition.go  a condition in CEL over the claims
//	template.go   {claims.NAME} in the names of users and groups
//	rule.go       which tokens are accepted, and for which user
//	private.go    issuers that are not public: their authority, keys, and a token
//	wellknown.go  issuers that are open to strangers
//
// A token is accepted if a key that its issuer publishes has signed it by RS256, ES256 or EdDSA,
// if its iss equals the issuer to the last slash, and if it is valid now. It gets an identity if
// a rule matches: the audience, every claim, and the condition. A claim that is missing or a
// condition that cannot be evaluated never passes.
//
// It does not decide permissions. The names of its users have a colon, so that no person can have
// them.
//
//	issuer := workload.New("https://forge.example.org/api/actions", workload.Config{})
//	rule, err := workload.Rule{Audience: []string{"registry.example.org"}, Groups: []string{"ci"}}.Compile(issuer.URL())
//	claims, err := issuer.Verify(ctx, token)
//	err = rule.Holds(claims)
//	who, err := rule.Who(claims)
package workload
