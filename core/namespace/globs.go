package namespace

import "github.com/eblume/caddy-registry/core/globs"

// Globs are patterns for repository names, as globs.Globs.
type Globs = globs.Globs

// ParseGlobs checks the patterns, as globs.Parse.
func ParseGlobs(patterns ...string) (Globs, error) { return globs.Parse(patterns...) }
