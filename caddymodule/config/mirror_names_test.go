package config

import (
	"slices"
	"testing"
)

func TestPatternsOfAMirror(t *testing.T) {
	for _, row := range []struct {
		pattern, want string
		ok            bool
	}{
		{"library/**", "docker.io/library/**", true},
		{"docker.io/library/*", "docker.io/library/*", true},
		{"**", "docker.io/**", true},
		{"docker.iox/a", "docker.io/docker.iox/a", true},
		{"/library", "", false},
		{"library/", "", false},
		{"a[", "", false},
	} {
		got, err := own("docker.io", []string{row.pattern})
		if (err == nil) != row.ok || row.ok && !slices.Equal(got, []string{row.want}) {
			t.Errorf("%q: got %q, %v, want %q", row.pattern, got, err, row.want)
		}
	}
	m := Mirror{Allow: []string{"library/*"}, Deny: []string{"library/nginx"}}
	s := m.settings("docker.io", nil)
	if !s.Allow.Match("docker.io/library/redis") || s.Allow.Match("docker.io/team/redis") || !s.Deny.Match("docker.io/library/nginx") {
		t.Errorf("got %q and %q", s.Allow, s.Deny)
	}
	if _, _, err := (&Mirror{Deny: []string{"a["}}).names("docker.io"); err == nil {
		t.Error("a pattern that is none was taken")
	}
}
