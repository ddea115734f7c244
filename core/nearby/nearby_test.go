package nearby

import (
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	hosts := []string{"docker.io", "ghcr.io", "quay.io", "registry.k8s.io"}
	for _, row := range []struct {
		word       string
		candidates []string
		want       string
	}{
		{"docker.oi", hosts, "docker.io"},
		{"docker.com", hosts, "docker.io"},
		{"dcoker.io", hosts, "docker.io"},
		{"doker.io", hosts, "docker.io"},
		{"dockker.io", hosts, "docker.io"},
		{"gchr.io", hosts, "ghcr.io"},
		{"gcr.io", hosts, "ghcr.io"},
		{"registry.k8.io", hosts, "registry.k8s.io"},
		{"regsitry.ks8.io", hosts, "registry.k8s.io"},
		{"docker.io", hosts, ""}, // is there
		{"mcr.microsoft.com", hosts, ""},
		{"", hosts, ""},
		{"io", []string{"ion"}, ""},
		{"admin", []string{"admins"}, "admins"},
		{"admins", []string{"people", "admin", "admins"}, "admin"},
		{"developes", []string{"developer", "developers"}, "developer"},
		{strings.Repeat("a", 300), []string{strings.Repeat("a", 299)}, ""},
	} {
		if got := Of(row.word, row.candidates...); got != row.want {
			t.Errorf("%s: got %q, want %q", row.word, got, row.want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abc", "ab", 1},
		{"abc", "xabc", 1}, {"abcd", "badc", 2}, {"kitten", "sitting", 3}, {"abc", "xyz", 3}, {"abcdef", "uvwxyz", 4},
	} {
		for _, pair := range [][2]string{{row.a, row.b}, {row.b, row.a}} {
			if got := Edits(pair[0], pair[1], 3); got != row.want {
				t.Errorf("%s to %s: got %d, want %d", pair[0], pair[1], got, row.want)
			}
		}
	}
}
