package caddymodule

import (
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// keyRules are those of the rules that are about one key.
func keyRules(rules []policies.Rule) (about []policies.Rule) {
	for _, rule := range rules {
		if _, ok := rule.Who.NamesKey(); ok {
			about = append(about, rule)
		}
	}
	return about
}

// idleRule is a rule about a key that there is not.
type idleRule struct {
	policies.Rule
	why string
}

// idleRules returns the rules about a key that match none of the keys that are valid,
// and why: most often a rule by label that was meant for a key that a person made.
func idleRules(rules []policies.Rule, keys []identity.Key, now time.Time) (idle []idleRule) {
	ids, labels, own := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, key := range keys {
		if !key.Active(now) {
			continue
		}
		ids[key.ID] = true
		if label := key.RuleLabel(); label != "" {
			labels[label] = true
		} else {
			own[key.Name] = true
		}
	}
	for _, rule := range rules {
		switch named, _ := rule.Who.NamesKey(); {
		case named.ID != "" && !ids[named.ID]:
			idle = append(idle, idleRule{rule, fmt.Sprintf("no valid key has the ID %s", named.ID)})
		case named.Label == "" || labels[named.Label]:
		case own[named.Label]:
			idle = append(idle, idleRule{rule, fmt.Sprintf("%q is the label of keys that people made for themselves, which rules do not match by label; write the key's ID", named.Label)})
		default:
			idle = append(idle, idleRule{rule, fmt.Sprintf("no valid key of a service account has the label %q; rules match no other keys by label", named.Label)})
		}
	}
	return idle
}

// warnOfIdleRules logs the rules about keys that there are not. The storage must be
// acquired.
func (a *App) warnOfIdleRules() {
	about := keyRules(a.rules)
	if len(about) == 0 {
		return
	}
	for _, rule := range idleRules(about, a.storage.Callers().Identity.Keys().List(""), time.Now()) {
		a.log.Warn("rule matches no key", "rule", rule.String(), "line", rule.Line, "reason", rule.why)
	}
}
