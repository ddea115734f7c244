package store

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestHoldKeysAreReadBack(t *testing.T) {
	for name, repo := range map[string]string{
		"short":                         "a",
		"with slashes and separators":   "team/app--x__y.z",
		"the last in one component":     strings.Repeat("a", 126),
		"the first in its own":          strings.Repeat("a", 127),
		"as long as a repository is":    strings.Repeat("a", 63) + strings.Repeat("/"+strings.Repeat("b", 63), 3),
		"longer than sha256 leaves":     strings.Repeat("a/", 95) + "b",
		"as long as sha256 leaves room": strings.Repeat("a/", 94) + "bc",
	} {
		t.Run(name, func(t *testing.T) {
			for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
				d := algorithm.FromString(name)
				key := linkKey(d, repo)
				for component := range strings.SplitSeq(key, "/") {
					if len(component) > maxComponent {
						t.Errorf("%s has a component of %d bytes", key, len(component))
					}
				}
				if !strings.HasPrefix(key, blobsPrefix+content(d)) {
					t.Errorf("%s is not below %s", key, blobsPrefix+content(d))
				}
				if got, gotRepo, ok := splitHold(key, blobsPrefix); got != d || gotRepo != repo || !ok {
					t.Errorf("%s is read as %s, %s, %t", key, got, gotRepo, ok)
				}
			}
		})
	}
}

func TestForeignKeysAreNotHolds(t *testing.T) {
	d := digest.FromString("x")
	for name, key := range map[string]string{
		"no repository":          blobsPrefix + content(d),
		"a directory":            blobsPrefix + content(d) + "/a",
		"an empty one":           blobsPrefix + content(d) + "+",
		"another spelling":       blobsPrefix + content(d) + "+/short",
		"a short digest":         blobsPrefix + "sha256/ab/ab+a",
		"another directory":      blobsPrefix + "sha256/zz/" + d.Encoded() + "+a",
		"no algorithm":           blobsPrefix + "x",
		"an algorithm not known": blobsPrefix + "md5/ab/" + d.Encoded() + "+a",
	} {
		if got, repo, ok := splitHold(key, blobsPrefix); ok {
			t.Errorf("%s: %s is read as %s, %s", name, key, got, repo)
		}
	}
}
