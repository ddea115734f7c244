package authenticators

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/workload"
)

func init() {
	caddy.RegisterModule(TrustedIssuer{})
}

// TrustedIssuer lets jobs in with the tokens that their own system gives them, such as a
// workflow of Forgejo or GitHub Actions: as Bearer, or as the password of any user name,
// below /v2/ and at /token. No key is stored anywhere. The same issuer may be here
// several times: the first whose audience, claims and condition hold says who it is.
type TrustedIssuer struct {
	// Issuer is the URL that tokens have as iss, to the last slash. It is https; plain
	// http only on loopback.
	Issuer string `json:"issuer,omitempty"`

	// Audience are names of which a token has to be for one. A job asks for it, and
	// nobody else should be called so: whoever is can use the tokens here. Required.
	Audience []string `json:"audience,omitempty"`

	// Claim are what claims of the token have to be, all of them. Default: anything;
	// issuers that strangers use need a claim or a condition.
	Claim []workload.Claim `json:"claim,omitempty"`

	// Condition is an expression in CEL over `claims` that has to be true. A claim that
	// is missing makes it fail. Default: none.
	Condition string `json:"condition,omitempty"`

	// User names the job behind "workload:", which keeps it apart from people. It may
	// have {claims.NAME} in it. Default: {claims.sub}.
	User string `json:"user,omitempty"`

	// Groups are the groups of the job, each with text of its own beside any
	// {claims.NAME}. Default: none.
	Groups []string `json:"groups,omitempty"`

	// CA is a file with the certificates of the authorities that vouch for the issuer, in
	// PEM, such as that of a Kubernetes cluster. Default: the system's.
	CA string `json:"ca,omitempty"`

	// KeysFile is a file with the issuer's keys as a JSON Web Key Set. With it the
	// issuer is asked nothing. Default: none.
	KeysFile string `json:"keys_file,omitempty"`

	// BearerTokenFile is a file with a token for the requests for the keys: the API of
	// Kubernetes wants one. These files are read at each request. Default: none.
	BearerTokenFile string `json:"bearer_token_file,omitempty"`

	// Line says where the block is written, for errors. The Caddyfile sets it.
	// Default: unknown.
	Line string `json:"line,omitempty"`

	issuer *workload.Issuer
	rules  []*workload.Compiled // this block's, and those of later blocks of the issuer
}

// issuers has a *workload.Issuer for each URL, and way to ask it, that a configuration
// of this process names: keys that were fetched outlive a reload.
var issuers = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (TrustedIssuer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  namespace + "trusted_issuer",
		New: func() caddy.Module { return new(TrustedIssuer) },
	}
}

// Provision checks the block and finds its issuer. It asks nobody.
func (t *TrustedIssuer) Provision(ctx caddy.Context) error {
	rule, err := t.check()
	if err != nil {
		return t.located(err)
	}
	t.rules = []*workload.Compiled{rule}
	value, _, err := issuers.LoadOrNew(t.key(), func() (caddy.Destructor, error) {
		return workload.New(t.Issuer, workload.Config{Log: observe.WithoutContext(ctx.Slogger()), Files: t.files()}), nil
	})
	if err != nil {
		return err
	}
	t.issuer = value.(*workload.Issuer)
	return nil
}

// files say how the issuer is asked.
func (t *TrustedIssuer) files() workload.Files {
	return workload.Files{CA: t.CA, Keys: t.KeysFile, BearerToken: t.BearerTokenFile}
}

// issuerKey is a key of issuers.
type issuerKey struct {
	url   string
	files workload.Files
}

func (t *TrustedIssuer) key() issuerKey { return issuerKey{t.Issuer, t.files()} }

// check refuses what would trust nobody, or everybody.
func (t *TrustedIssuer) check() (*workload.Compiled, error) {
	if err := option.CheckURL(t.Issuer); err != nil {
		return nil, err
	}
	if err := t.files().Check(); err != nil {
		return nil, err
	}
	return workload.Rule{
		Audience: t.Audience, Claims: t.Claim, Condition: t.Condition, User: t.User, Groups: t.Groups,
	}.Compile(t.Issuer)
}

// located puts the line of the block, if it has one, before the error.
func (t *TrustedIssuer) located(err error) error {
	err = fmt.Errorf("trusted_issuer %s: %w", t.Issuer, err)
	if t.Line == "" {
		return err
	}
	return fmt.Errorf("%s: %w", t.Line, err)
}

// joinIssuers makes one authenticator of all blocks of an issuer, and puts issuers
// before others: what kind a token is, its iss decides, and not the order of blocks. How
// the issuer is asked stands in the first of its blocks, and may be repeated in others.
func joinIssuers(all []identity.Authenticator) ([]identity.Authenticator, error) {
	var first, rest []identity.Authenticator
	byURL := map[string]*TrustedIssuer{}
	for _, a := range all {
		t, ok := a.(*TrustedIssuer)
		switch {
		case !ok:
			rest = append(rest, a)
		case byURL[t.Issuer] == nil:
			byURL[t.Issuer] = t
			first = append(first, t)
		case t.files() != workload.Files{} && t.files() != byURL[t.Issuer].files():
			return nil, t.located(errors.New("ca, keys_file and bearer_token_file are for all blocks of an issuer; write them in its first block"))
		default:
			byURL[t.Issuer].rules = append(byURL[t.Issuer].rules, t.rules...)
		}
	}
	return slices.Concat(first, rest), nil
}

// RuleGroups returns the groups that all blocks of the issuer give, as they are written.
func (t *TrustedIssuer) RuleGroups() (groups []string) {
	for _, rule := range t.rules {
		groups = append(groups, rule.Groups()...)
	}
	return groups
}

// Recognizes tells whether a credential claims to be from this issuer.
func (t *TrustedIssuer) Recognizes(c identity.Credential) bool { return c.Issuer == t.Issuer }

// Method names the kind of the credential, for metrics.
func (*TrustedIssuer) Method() string { return "workload" }

// Authenticate finds out which job presents its token.
func (t *TrustedIssuer) Authenticate(ctx context.Context, c identity.Credential) (identity.Proven, error) {
	claims, err := t.issuer.Verify(ctx, c.Secret)
	if errors.Is(err, workload.ErrToken) {
		return identity.Proven{}, fmt.Errorf("%w: %w", identity.ErrCredential, err)
	}
	if err != nil {
		return identity.Proven{}, err
	}
	var refusals []error
	for _, rule := range t.rules {
		if err := rule.Holds(claims); err != nil {
			refusals = append(refusals, err)
			continue
		}
		who, err := rule.Who(claims)
		if err != nil {
			return identity.Proven{}, fmt.Errorf("%w: %w", identity.ErrCredential, err)
		}
		return identity.Proven{Identity: who, Until: claims.Expires()}, nil
	}
	return identity.Proven{}, fmt.Errorf("%w: %w", identity.ErrCredential, errors.Join(refusals...))
}

// Cleanup gives the issuer back. It is called also when Provision did not succeed.
func (t *TrustedIssuer) Cleanup() error {
	if t.issuer == nil {
		return nil
	}
	_, err := issuers.Delete(t.key())
	return err
}

// UnmarshalCaddyfile reads the block. Syntax:
//
//	trusted_issuer <url> {
//	    audience  <names...>
//	    claim     <name> <globs...>
//	    condition <CEL over claims>
//	    user      <name>
//	    groups    <names...>
//	    ca                <file>
//	    keys_file         <file>
//	    bearer_token_file <file>
//	}
//
// claim may be repeated: each has to match, by one of its globs.
func (t *TrustedIssuer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	if !d.AllArgs(&t.Issuer) {
		return d.ArgErr()
	}
	t.Line = fmt.Sprintf("%s:%d", d.File(), d.Line())
	err := option.Block(d, "trusted_issuer", option.Options{
		"audience": option.List(&t.Audience),
		"claim":    option.Func(t.unmarshalClaim).Repeated(),
		"condition": option.Func(func(d *caddyfile.Dispenser) error {
			if !d.AllArgs(&t.Condition) || t.Condition == "" {
				return d.Err("write the condition in backticks: condition `claims.ref == \"refs/heads/main\"`")
			}
			return nil
		}),
		"user": option.Func(func(d *caddyfile.Dispenser) error {
			if !d.AllArgs(&t.User) || t.User == "" {
				return d.ArgErr()
			}
			return nil
		}),
		"groups":            option.List(&t.Groups),
		"ca":                option.Once(&t.CA),
		"keys_file":         option.Once(&t.KeysFile),
		"bearer_token_file": option.Once(&t.BearerTokenFile),
	})
	if err != nil {
		return err
	}
	// Here and not only when it is provisioned, so that `adapt` says it, too.
	if _, err := t.check(); err != nil {
		return t.located(err)
	}
	return nil
}

func (t *TrustedIssuer) unmarshalClaim(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("write: claim <name> <pattern>")
	}
	t.Claim = append(t.Claim, workload.Claim{Name: args[0], Globs: args[1:]})
	return nil
}

var (
	_ caddy.Provisioner      = (*TrustedIssuer)(nil)
	_ caddy.CleanerUpper     = (*TrustedIssuer)(nil)
	_ caddyfile.Unmarshaler  = (*TrustedIssuer)(nil)
	_ identity.Authenticator = (*TrustedIssuer)(nil)
)
