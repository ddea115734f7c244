package config

import (
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/policies"
)

// own completes patterns of a mirror's block: a pattern that does not begin with the mirror's
// name is below it, so that library/** of docker.io is docker.io/library/**.
func own(name string, patterns []string) (globs.Globs, error) {
	full := make([]string, 0, len(patterns))
	for _, p := range patterns {
		if _, err := globs.Parse(p); err != nil {
			return nil, err
		}
		if p != name && !strings.HasPrefix(p, name+"/") {
			p = name + "/" + p
		}
		full = append(full, p)
	}
	return globs.Parse(full...)
}

// names returns the patterns of the names that the mirror may serve.
func (m *Mirror) names(name string) (allow, deny globs.Globs, err error) {
	if allow, err = own(name, m.Allow); err != nil {
		return nil, nil, fmt.Errorf("allow: %w", err)
	}
	if deny, err = own(name, m.Deny); err != nil {
		return nil, nil, fmt.Errorf("deny: %w", err)
	}
	return allow, deny, nil
}

// reveals returns the rules that give access to hidden content of the upstream.
func (m *Mirror) reveals(name string) ([]policies.Rule, error) {
	var rules []policies.Rule
	for _, r := range m.Private {
		if len(r.On) == 0 {
			return nil, fmt.Errorf("private: no names; write: private <globs...> to <who>")
		}
		on, err := own(name, r.On)
		if err != nil {
			return nil, fmt.Errorf("private: %w", err)
		}
		who, err := parseSubject(r.To)
		if err != nil {
			return nil, fmt.Errorf("private: %w", err)
		}
		rules = append(rules, policies.Rule{Who: who, Actions: []policies.Action{policies.Reveal}, On: on, Line: "mirror " + name + " private"})
	}
	return rules, nil
}
