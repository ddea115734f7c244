package namespace

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/wire"
)

func TestForeign(t *testing.T) {
	site := Site{Host: "registry.example.org", Mirrors: []string{"docker.io", "ghcr.io"}}
	for _, row := range []struct{ name, ns, want string }{
		{"docker.oi/library/app", "", "docker.oi"},
		{"docker.io/library/app", "", ""},
		{"index.docker.io/library/app", "", ""},
		{"library/app", "", ""},
		{"my.app", "", ""},
		{"library/app", "quay.io", "quay.io"},
		{"library/app", "QUAY.io:443", "quay.io"},
		{"library/app", "ghcr.io", ""},
		{"docker.oi/app", "ghcr.io", ""},
		{"docker.oi/app", "registry.example.org", "docker.oi"},
	} {
		if got := site.Foreign(wire.Request{Name: row.name, NS: row.ns}); got != row.want {
			t.Errorf("%s, ns=%s: got %q, want %q", row.name, row.ns, got, row.want)
		}
	}
}

func TestNoMirror(t *testing.T) {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("mirror%02d.%s", i, strings.Repeat("m", 200)))
	}
	for _, row := range []struct {
		host    string
		visible []string
		want    string
	}{
		{"docker.oi", nil, ""},
		{"docker.oi", []string{"docker.io", "quay.io"}, "no mirror of docker.oi; configured: docker.io, quay.io; did you mean docker.io?"},
		{"mcr.microsoft.com", []string{"docker.io"}, "no mirror of mcr.microsoft.com; configured: docker.io"},
	} {
		if got := NoMirror(row.host, row.visible); got != row.want {
			t.Errorf("%s: got %q, want %q", row.host, got, row.want)
		}
	}
	got := NoMirror(strings.Repeat("h", 250), many)
	if len(got) > 1000 || !strings.HasSuffix(got, " and 32 more") {
		t.Errorf("got %d bytes: %s", len(got), got)
	}
}
