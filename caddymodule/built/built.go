// Package built reports what this program was built from, as far as the build has written
// it into the program.
//
//	built.From().Commit // 40 hexadecimal digits, or "unknown"
package built

import (
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
)

const (
	module = "github.com/eblume/caddy-registry"
	caddy  = "github.com/caddyserver/caddy/v2"
)

// unknown stands for what the build does not say.
const unknown = "unknown"

// commit is set by -ldflags -X. The go command knows no commit of a module that a directory
// replaces, which is how `make build` builds from a checkout.
var commit string

// Build is what a program was built from. Each field may be "unknown".
type Build struct {
	// Version is that of this module; v0.0.0 if it was built from a checkout.
	Version string
	// Commit is whole or its first 12 digits, with "+modified" behind it if the checkout
	// had changes.
	Commit    string
	Go, Caddy string
}

// From returns what this program was built from.
var From = sync.OnceValue(func() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return read(info, commit)
})

// pseudoCommit is the commit in a version that the go command has made.
var pseudoCommit = regexp.MustCompile(`-(?:0\.)?[0-9]{14}-([0-9a-f]{12})$`)

// read looks for the commit in what the linker was given, in the version, and in what the
// go command writes if this module is the program.
func read(info *debug.BuildInfo, linked string) Build {
	b := Build{unknown, unknown, unknown, unknown}
	if info.GoVersion != "" {
		b.Go = info.GoVersion
	}
	for _, m := range append(info.Deps, &info.Main) {
		switch m.Path {
		case caddy:
			b.Caddy = m.Version
		case module:
			b.Version = m.Version
			if found := pseudoCommit.FindStringSubmatch(m.Version); found != nil {
				b.Commit = found[1]
			}
		}
	}
	if info.Main.Path == module {
		settings := map[string]string{}
		for _, setting := range info.Settings {
			settings[setting.Key] = setting.Value
		}
		if settings["vcs.revision"] != "" {
			b.Commit = settings["vcs.revision"]
			if settings["vcs.modified"] == "true" {
				b.Commit += "+modified"
			}
		}
	}
	if linked != "" {
		b.Commit = linked
	}
	return b
}

// String is this project's part of a version, as "caddy-registry v1.0.0 (commit 0123456789ab)".
func (b Build) String() string {
	const digits = 12
	short := b.Commit
	if hash, modified, _ := strings.Cut(b.Commit, "+"); len(hash) > digits {
		short = hash[:digits]
		if modified != "" {
			short += "+" + modified
		}
	}
	return "caddy-registry " + b.Version + " (commit " + short + ")"
}
