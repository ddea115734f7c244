package importing

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/transfer/zot"
	"github.com/eblume/caddy-registry/policies"
)

// maxAdvice bounds the lines of an advice.
const maxAdvice = 100

// Here is the configuration that takes the place of a zot's.
type Here struct {
	Mirrors []string
	Rules   []policies.Rule
	// SignIn is false without a provider of sign-ins.
	SignIn bool
	// LocalUsers is false without a local_user.
	LocalUsers bool
}

// Advise compares a zot's configuration with the one that takes its place, and returns sentences
// about what that lacks. users are new names of users. It changes nothing.
func Advise(c *zot.Config, here Here, users map[string]string) []string {
	a := &advice{here: here, users: users, said: map[string]bool{}}
	a.storage(c)
	a.mirrors(c)
	a.access(c)
	a.signIn(c)
	if more := len(a.lines) - maxAdvice; more > 0 {
		return append(a.lines[:maxAdvice:maxAdvice], fmt.Sprintf("There are %d more differences.", more))
	}
	return a.lines
}

type advice struct {
	here  Here
	users map[string]string
	lines []string
	said  map[string]bool
}

func (a *advice) say(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !a.said[line] {
		a.said[line] = true
		a.lines = append(a.lines, line)
	}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._@/*:+?{},\[\]-]{1,200}$`)

// word writes a value of the configuration as a word of a Caddyfile. It may hold anything.
func word(s string) string {
	if plainWord.MatchString(s) && !strings.HasPrefix(s, "{") {
		return s
	}
	return strconv.Quote(s[:min(len(s), 200)])
}

func (a *advice) storage(c *zot.Config) {
	for _, at := range slices.Sorted(maps.Keys(c.Storage.SubPaths)) {
		a.say("This import does not read storage.subPaths %s. Import %s with a command of its own; zot's database is not there, so its images come without times.",
			word(at), word(c.Storage.SubPaths[at].RootDirectory))
	}
	if len(c.Storage.Retention.Policies) > 0 {
		a.say("storage.retention has no equivalent: tags stay until somebody deletes them. `gc { untagged 30d }` removes untagged manifests.")
	}
}

func (a *advice) mirrors(c *zot.Config) {
	sync := c.Extensions.Sync
	if sync.Enable != nil && !*sync.Enable {
		return
	}
	for _, up := range sync.Registries {
		for _, raw := range up.URLs {
			u, err := url.Parse(raw)
			if err != nil || u.Host == "" {
				a.say("extensions.sync has the invalid URL %s.", word(raw))
				continue
			}
			a.mirror(up, u)
		}
	}
}

// mirror advises about one upstream of zot's.
func (a *advice) mirror(up zot.Upstream, u *url.URL) {
	host := namespace.CanonicalHost(u.Host)
	if alias := namespace.AliasOf(host); alias != "" {
		host = alias
	}
	if !slices.Contains(a.here.Mirrors, host) {
		a.say("Add `mirror %s`: zot fetches images from %s.", word(host), word(u.Scheme+"://"+u.Host))
	}
	for _, content := range up.Content {
		if at := strings.Trim(content.Destination, "/"); at != host {
			a.say("zot keeps images of %s under the prefix %s; here their names begin with %s/, so clients must use that name.", word(host), word("/"+at), word(host))
		}
		if content.StripPrefix {
			a.say("zot removes the prefix %s from names of %s (stripPrefix); here images have their full names.", word(content.Prefix), word(host))
		}
	}
	if !up.PreserveDigest {
		a.say("zot has converted manifests of %s in Docker's formats (preserveDigest is off). They are listed as not served; the mirror fetches them again, and downloads only the layers that the import did not bring.", word(host))
	}
	if !up.OnDemand {
		a.say("zot fetches images of %s on a schedule; here the mirror fetches an image when it is first pulled.", word(host))
	}
	if up.TLSVerify != nil && !*up.TLSVerify {
		a.say("zot does not verify the certificate of %s (tlsVerify is off). Write `ca <file>` in the block of the mirror.", word(host))
	}
	if up.CertDir != "" {
		a.say("zot reads certificates for %s from %s. Write `ca <file>` and `client_certificate <certificate> <key>` in the block of the mirror.", word(host), word(up.CertDir))
	}
}

func (a *advice) access(c *zot.Config) {
	control := c.HTTP.AccessControl
	if len(c.Repositories) > 1 {
		a.say("zot applies only the longest pattern of http.accessControl.repositories that matches a repository. Here the rules of all patterns add up: check the result with `registry policy explain`.")
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.Repositories)) {
		repositories := c.Repositories[pattern]
		a.rule(pattern, repositories.AnonymousPolicy, "anonymous")
		a.rule(pattern, repositories.DefaultPolicy, "signed_in")
		for _, p := range repositories.Policies {
			a.policy(pattern, p)
		}
	}
	a.policy("**", control.AdminPolicy)
	for _, name := range slices.Sorted(maps.Keys(control.Groups)) {
		a.say("The members of the group %s are listed in zot's configuration. Here groups come from the provider of sign-ins, from local_user and from keys.", word(name))
	}
}

func (a *advice) policy(pattern string, p zot.Policy) {
	for _, user := range p.Users {
		if renamed := a.users[user]; renamed != "" {
			user = renamed
		}
		a.rule(pattern, p.Actions, "user", user)
	}
	for _, group := range p.Groups {
		a.rule(pattern, p.Actions, "group", group)
	}
}

// rule advises a rule for a subject, unless one of the configuration allows as much.
func (a *advice) rule(pattern string, actions []string, subject ...string) {
	who, rest, err := policies.ParseSubject(subject)
	if err != nil || len(rest) > 0 {
		a.say("http.accessControl has a policy for a %s without a name.", subject[0])
		return
	}
	rule := policies.Rule{Who: who}
	for _, name := range actions {
		action, err := policies.ParseAction(name)
		if err != nil || action == policies.Admin {
			a.say("The action %s of http.accessControl has no equivalent.", word(name))
			continue
		}
		rule.Actions = append(rule.Actions, action)
		if action == policies.Read {
			rule.Actions = append(rule.Actions, policies.Fetch) // zot fetches for everybody who may read
		}
	}
	if pattern != "**" {
		if _, err := globs.Parse(pattern); err != nil {
			a.say("The pattern %s of http.accessControl.repositories has no equivalent.", word(pattern))
			return
		}
		rule.On = globs.Globs{pattern}
	}
	if len(rule.Actions) == 0 || slices.ContainsFunc(a.here.Rules, func(r policies.Rule) bool { return covers(r, rule) }) {
		return
	}
	words := []string{"allow", subject[0]}
	for _, name := range subject[1:] {
		words = append(words, word(name))
	}
	for _, action := range rule.Actions {
		words = append(words, action.String())
	}
	if len(rule.On) > 0 {
		words = append(words, "on", word(pattern))
	}
	a.say("Add to the block policy: `%s`.", strings.Join(words, " "))
}

// covers reports whether a rule allows, to the same subject, all that another one does.
func covers(r, other policies.Rule) bool {
	return !r.Deny && r.Who == other.Who && (len(r.On) == 0 || slices.Equal(r.On, other.On)) &&
		!slices.ContainsFunc(other.Actions, func(action policies.Action) bool { return !slices.Contains(r.Actions, action) })
}

func (a *advice) signIn(c *zot.Config) {
	auth := c.HTTP.Auth
	for _, name := range slices.Sorted(maps.Keys(auth.OpenID.Providers)) {
		switch issuer := auth.OpenID.Providers[name].Issuer; {
		case name == "github":
			a.say("GitHub is not an OpenID Connect provider, so people cannot sign in with it here.")
		case !a.here.SignIn:
			a.say("Add the block `oidc` with `issuer %s`. `redirect_path /zot/auth/callback/%s` is the one that the provider knows.", word(issuer), word(name))
		}
	}
	if auth.HTPasswd.Path != "" && !a.here.LocalUsers {
		a.say("Add `local_user <name> <hash>` for the users in %s: bcrypt hashes can be copied.", word(auth.HTPasswd.Path))
	}
	if auth.LDAP != nil {
		a.say("http.auth.ldap has no equivalent; people sign in with an OpenID Connect provider or as local_user.")
	}
	if auth.Bearer != nil {
		a.say("http.auth.bearer has no equivalent; this registry issues its own tokens, and `trusted_issuer` accepts those of jobs.")
	}
}
