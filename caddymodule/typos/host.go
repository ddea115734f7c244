package typos

import (
	"slices"

	"github.com/eblume/caddy-registry/core/nearby"
)

// wellKnown are registries that many people mirror.
var wellKnown = []string{
	"docker.io", "ghcr.io", "quay.io", "gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io", "k8s.gcr.io", "registry.k8s.io",
	"mcr.microsoft.com", "public.ecr.aws", "registry.gitlab.com", "registry.access.redhat.com", "registry.redhat.io",
	"nvcr.io", "lscr.io", "cgr.dev", "docker.elastic.co", "codeberg.org", "registry.fedoraproject.org", "registry.opensuse.org",
}

// longHost is from which length, in bytes, any single edit of a well-known host is taken
// for a slip. Shorter hosts have real neighbours (gcr.io, ghcr.io and nvcr.io are three),
// so that only two letters that have changed places are.
const longHost = 9

// Host returns the well-known registry that a host is most likely a misspelling of, or
// nothing.
func Host(host string) string {
	if slices.Contains(wellKnown, host) {
		return ""
	}
	for _, known := range wellKnown {
		swapped := len(host) == len(known) && sorted(host) == sorted(known)
		if (swapped || len(known) >= longHost && !digitsDiffer(host, known)) && nearby.Edits(host, known, 1) == 1 {
			return known
		}
	}
	return ""
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}

// digitsDiffer reports whether two hosts have other digits: registry.k3s.io would be
// another project, and not a slip.
func digitsDiffer(a, b string) bool {
	digits := func(s string) (found []byte) {
		for i := range len(s) {
			if s[i] >= '0' && s[i] <= '9' {
				found = append(found, s[i])
			}
		}
		return found
	}
	return string(digits(a)) != string(digits(b))
}
