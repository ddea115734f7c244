package caddymodule

import (
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/core/namespace"
)

// own completes patterns of a mirror's block: what does not begin with the mirror's name
// is below it, so that library/** of docker.io is docker.io/library/**.
func own(name string, patterns []string) (namespace.Globs, error) {
	full := make([]string, 0, len(patterns))
	for _, p := range patterns {
		if _, err := namespace.ParseGlobs(p); err != nil {
			return nil, err
		}
		if p != name && !strings.HasPrefix(p, name+"/") {
			p = name + "/" + p
		}
		full = append(full, p)
	}
	return namespace.ParseGlobs(full...)
}

// names are the patterns of what the mirror may serve.
func (m *Mirror) names(name string) (allow, deny namespace.Globs, err error) {
	if allow, err = own(name, m.Allow); err != nil {
		return nil, nil, fmt.Errorf("allow: %w", err)
	}
	if deny, err = own(name, m.Deny); err != nil {
		return nil, nil, fmt.Errorf("deny: %w", err)
	}
	return allow, deny, nil
}
