package workload

import (
	"net/url"
	"slices"
	"strings"
)

// strangers are hosts whose issuer gives tokens to everyone with an account there, for any
// audience. A token of such an issuer by itself proves only that the sender has an account.
// Issuers with a separate URL for each customer are not here: their iss already identifies the
// owner of the jobs.
var strangers = []string{
	"token.actions.githubusercontent.com", // GitHub Actions
	"github.com",                          // a name for it that people may try
	"gitlab.com",
	"codeberg.org", "next.forgejo.org", "code.forgejo.org", "gitea.com", // public instances of Forgejo and Gitea
	"agent.buildkite.com",
	"app.terraform.io",
	"api.pulumi.com",
	"accounts.google.com",
	"oauth2.sigstore.dev",
}

// isShared reports whether an issuer is known to be open to strangers.
func isShared(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && slices.Contains(strangers, strings.TrimSuffix(strings.ToLower(u.Hostname()), "."))
}

// distinguishes reports whether a claim distinguishes some tokens of an issuer from
// others.
func (c Claim) distinguishes() bool {
	switch c.Name {
	case "iss", "aud", "exp", "nbf", "iat", "jti":
		return false
	}
	// A pattern of only wildcards matches every token.
	return !slices.ContainsFunc(c.Globs, func(glob string) bool { return strings.Trim(glob, "*?/") == "" })
}
