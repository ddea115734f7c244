package authenticators

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/caddymodule/workload"
)

// Examine looks at the provider for the registry at the URL site. The secret is read, because
// one that is not there keeps the registry from starting, but it is sent to nobody.
func (o OIDC) Examine(ctx context.Context, site string) (string, error) {
	o = o.Complete()
	if err := o.Check(site); err != nil {
		return "", err
	}
	if o.ClientSecret != "" {
		if _, err := option.Resolve("client_secret", o.ClientSecret); err != nil {
			return "", err
		}
	}
	found, err := oidclogin.New(o.Issuer, o.ClientID, oidclogin.Config{}).Probe(ctx)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s is who it should be, and %d of its keys can be used", o.Issuer, found.Keys)
	if found.Dated && found.Skew.Abs() > doctor.MaxSkew {
		return "", fmt.Errorf("the clock of %s and ours are %s apart: sign-ins fail by that; set the clocks", o.Issuer, found.Skew.Abs())
	} else if found.Dated {
		text += fmt.Sprintf(", its clock and ours are %s apart", found.Skew.Abs())
	}
	text += fmt.Sprintf("; the client %s must have the redirect URI %s there", o.ClientID, strings.TrimSuffix(site, "/")+o.RedirectPath)
	if found.Follows {
		return text + fmt.Sprintf("; it offers offline_access, so groups follow it within %s", time.Duration(o.GroupRefresh)), nil
	}
	return text + "; it does not offer offline_access, so groups are those of the last sign-in until each key ends" +
		" (add that scope at the provider, and they follow)", nil
}

// IssuerChecks are checks of the issuers whose tokens are taken, one for each. blocks are the
// configurations of the guest modules.
func IssuerChecks(blocks []json.RawMessage) (checks []doctor.Check) {
	seen := map[string]bool{}
	for _, raw := range blocks {
		var block struct {
			Module string `json:"module"`
			TrustedIssuer
		}
		if json.Unmarshal(raw, &block) != nil || block.Module != "trusted_issuer" || seen[block.Issuer] {
			continue
		}
		seen[block.Issuer] = true
		checks = append(checks, doctor.Check{Name: "trusted issuer " + block.Issuer, Run: func(ctx context.Context) (string, error) {
			if err := option.CheckURL(block.Issuer); err != nil {
				return "", err
			}
			keys, err := workload.New(block.Issuer, workload.Config{Files: block.files()}).Probe(ctx)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("it is who it should be, and %d of its keys can be used", keys), nil
		}})
	}
	return checks
}
