package built

import (
	"runtime/debug"
	"testing"
)

func TestRead(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef01234567"
	dependency := func(version string) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{{Path: caddy, Version: "v2.11.9"}, {Path: module, Version: version}}}
	}
	program := func(settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: module, Version: "(devel)"}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: hash}
	for _, row := range []struct {
		name   string
		info   *debug.BuildInfo
		linked string
		commit string
		text   string
	}{
		{"a release", dependency("v1.2.0"), "", unknown, "caddy-registry v1.2.0 (commit unknown)"},
		{"a commit that xcaddy was given", dependency("v1.2.1-0.20261129200000-0123456789ab"), "", "0123456789ab",
			"caddy-registry v1.2.1-0.20261129200000-0123456789ab (commit 0123456789ab)"},
		{"a checkout", dependency("v0.0.0"), hash, hash, "caddy-registry v0.0.0 (commit 0123456789ab)"},
		{"a checkout with changes", dependency("v0.0.0"), hash + "+modified", hash + "+modified", "caddy-registry v0.0.0 (commit 0123456789ab+modified)"},
		{"the module itself", program(revision), "", hash, "caddy-registry (devel) (commit 0123456789ab)"},
		{"the module itself with changes", program(revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "", hash + "+modified",
			"caddy-registry (devel) (commit 0123456789ab+modified)"},
		{"nothing is known", new(debug.BuildInfo), "", unknown, "caddy-registry unknown (commit unknown)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := read(row.info, row.linked)
			if got.Commit != row.commit || got.String() != row.text {
				t.Errorf("got %+v and %q, want %q and %q", got, got, row.commit, row.text)
			}
		})
	}
	if got, want := read(dependency("v1.2.0"), ""), (Build{"v1.2.0", unknown, "go1.26.8", "v2.11.9"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
