package authenticators

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/caddymodule/web"
)

// OIDC is how people sign in: with an OpenID Connect provider. It needs the app's url,
// which is where the provider sends browsers back to.
type OIDC struct {
	// Issuer is the provider by the URL that it calls itself, to the last slash. It
	// is https; plain http only on loopback.
	Issuer string `json:"issuer,omitempty"`

	// ClientID is the registry's name at the provider.
	ClientID string `json:"client_id,omitempty"`

	// ClientSecret is a placeholder, such as {env.OIDC_SECRET} or
	// {file./run/secrets/oidc}, that is resolved at the start. Default: none, for a
	// public client.
	ClientSecret string `json:"client_secret,omitempty"`

	// Scopes are what is asked for. openid is always, and offline_access where the
	// provider offers it. Default: openid, email, profile.
	Scopes []string `json:"scopes,omitempty"`

	// UsernameClaim names the claim that names the user. It must be one that people
	// cannot change by themselves. Default: preferred_username.
	UsernameClaim string `json:"username_claim,omitempty"`

	// GroupsClaim names the claim that has the groups. Default: groups.
	GroupsClaim string `json:"groups_claim,omitempty"`

	// AllowedGroups are those whose members may sign in. Default: everybody may.
	AllowedGroups []string `json:"allowed_groups,omitempty"`

	// RedirectPath is the path of the callback as the provider has it registered.
	// Default: /oidc/callback.
	RedirectPath string `json:"redirect_path,omitempty"`

	// GroupRefresh is how old the groups of a person may be before the provider is
	// asked again, if it gives refresh tokens. Default: 15m.
	GroupRefresh caddy.Duration `json:"group_refresh,omitempty"`

	// Session is how long a sign-in lasts. Default: 12h.
	Session caddy.Duration `json:"session,omitempty"`

	// Label is what people call the provider. Default: its host.
	Label string `json:"label,omitempty"`
}

const (
	defaultRedirectPath = "/oidc/callback"
	defaultRefresh      = 15 * time.Minute
	// DefaultSession is how long a sign-in lasts by default, with a provider or a password.
	DefaultSession = 12 * time.Hour
)

// Complete fills in what was left out.
func (o OIDC) Complete() OIDC {
	for to, value := range map[*string]string{
		&o.UsernameClaim: "preferred_username", &o.GroupsClaim: "groups", &o.RedirectPath: defaultRedirectPath,
	} {
		if *to == "" {
			*to = value
		}
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"openid", "email", "profile"}
	}
	if o.GroupRefresh == 0 {
		o.GroupRefresh = caddy.Duration(defaultRefresh)
	}
	if o.Session == 0 {
		o.Session = caddy.Duration(DefaultSession)
	}
	if issuer, err := url.Parse(o.Issuer); o.Label == "" && err == nil {
		o.Label = issuer.Hostname()
	}
	return o
}

// Check refuses what cannot work, or what others could read. site is the url of the app.
func (o OIDC) Check(site string) error {
	if site == "" {
		return errors.New("url is missing in the block oci: the provider sends browsers back to it")
	}
	if err := option.CheckURL(site); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if err := option.CheckURL(o.Issuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if o.ClientID == "" {
		return errors.New("client_id is missing")
	}
	if o.ClientSecret != "" {
		if err := option.CheckSecret(o.ClientSecret); err != nil {
			return fmt.Errorf("client_secret: %w", err)
		}
	}
	if path := o.RedirectPath; path == token.Path || strings.HasPrefix(path+"/", "/v2/") ||
		web.Serves(path, "") || oidclogin.ReturnPath(path) != path {
		return fmt.Errorf("redirect_path: %q is not a path, or has another use", path)
	}
	if o.GroupRefresh < 0 || o.Session < 0 {
		return errors.New("group_refresh and session must be positive")
	}
	return nil
}

// UnmarshalCaddyfile reads the block. Syntax:
//
//	oidc {
//	    issuer         <url>
//	    client_id      <id>
//	    client_secret  <placeholder>
//	    scopes         <scopes...>
//	    username_claim <name>
//	    groups_claim   <name>
//	    allowed_groups <groups...>
//	    redirect_path  <path>
//	    group_refresh  <duration>
//	    session        <duration>
//	    label          <text>
//	}
func (o *OIDC) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return option.Block(d, "oidc", option.Options{
		"issuer":         option.Once(&o.Issuer),
		"client_id":      option.Once(&o.ClientID),
		"client_secret":  option.Once(&o.ClientSecret), // checked with the rest
		"scopes":         option.List(&o.Scopes),
		"username_claim": option.Once(&o.UsernameClaim),
		"groups_claim":   option.Once(&o.GroupsClaim),
		"allowed_groups": option.List(&o.AllowedGroups),
		"redirect_path":  option.Once(&o.RedirectPath),
		"group_refresh":  option.Duration(&o.GroupRefresh),
		"session":        option.Duration(&o.Session),
		"label":          option.Once(&o.Label),
	})
}

var _ caddyfile.Unmarshaler = (*OIDC)(nil)
