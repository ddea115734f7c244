package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/policies"
)

// Policy is who may do what. Who asks is not found out yet, so the only rule is the
// one that needs no identity: everybody may do everything.
type Policy struct {
	// Allow are the rules; a caller may do what any of them allows.
	Allow []Rule `json:"allow,omitempty"`
}

// Rule allows something to somebody.
type Rule struct {
	// Who is allowed: "anonymous", which includes everybody.
	Who string `json:"who"`
	// Actions are what is allowed: "*", which is all of them.
	Actions []string `json:"actions"`
}

// policy is what the configuration means. Without one nobody may write.
func (p *Policy) policy() (policies.Policy, error) {
	if p == nil {
		return policies.Everybody(policies.Read, policies.Fetch), nil
	}
	if len(p.Allow) == 0 {
		return nil, fmt.Errorf("has no rule; write: %s", onlyRule)
	}
	for _, r := range p.Allow {
		if err := r.check(); err != nil {
			return nil, err
		}
	}
	return policies.Everybody(policies.Actions...), nil
}

// onlyRule is the one rule there is.
const onlyRule = "allow anonymous *"

func (r Rule) check() error {
	if r.Who != "anonymous" {
		return fmt.Errorf("unknown subject %q; the only rule is: %s", r.Who, onlyRule)
	}
	if len(r.Actions) != 1 || r.Actions[0] != "*" {
		return fmt.Errorf("unknown actions %q; the only rule is: %s", r.Actions, onlyRule)
	}
	return nil
}

// UnmarshalCaddyfile reads the block. Syntax:
//
//	policy {
//	    allow anonymous *
//	}
func (p *Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "allow" {
			return d.Errf("unknown rule %q; the only rule is: %s", d.Val(), onlyRule)
		}
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.ArgErr()
		}
		rule := Rule{Who: args[0], Actions: args[1:]}
		if err := rule.check(); err != nil {
			return d.WrapErr(err)
		}
		p.Allow = append(p.Allow, rule)
	}
	if len(p.Allow) == 0 {
		return d.Errf("policy has no rule; write: %s", onlyRule)
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Policy)(nil)
