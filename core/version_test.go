package core_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"pgregory.net/rapid"

	"github.com/eblume/caddy-registry/core"
)

func TestVersionsSortAsPeopleExpect(t *testing.T) {
	for _, ascending := range [][]string{
		{"latest", "sha-9f3a", "v1"},
		{"1.9", "1.10", "1.10.1", "2"},
		{"v1.9.0", "v1.10.0-rc1", "v1.10.0-rc2", "v1.10.0-rc10", "v1.10.0", "v1.10.1"},
		{"3.20-alpine", "3.20", "3.20.1-alpine", "3.20.1"},
		{"2026-9-2", "2026-11-29", "2026-12-01"},
		{"20260131", "20260201"},
		{"1.0.0-1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0"},
		{"7", "7.0", "7.0.0"},
		{"edge", "nightly", "v", "vnext", "0.1"},
		{"main-1", "main-2", "main-10", "main"},
		{"1.2.3", "1.2.3.4", "1.2.3.5"},
		{"99999999999999999999", "100000000000000000000"},
	} {
		for i := range ascending[1:] {
			if a, b := ascending[i], ascending[i+1]; core.VersionKey(a) >= core.VersionKey(b) {
				t.Errorf("%s does not sort before %s", a, b)
			}
		}
	}
	for _, same := range [][2]string{{"v1.2", "1.2"}, {"V1", "v1"}, {"1.02", "1.2"}, {"1.2-RC1", "1.2-rc1"}} {
		if core.VersionKey(same[0]) != core.VersionKey(same[1]) {
			t.Errorf("%s and %s differ", same[0], same[1])
		}
	}
}

var tags = rapid.StringMatching(`[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`)

func TestAVersionKeyIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tag := tags.Draw(t, "tag")
		key := core.VersionKey(tag)
		if len(key) > 3*len(tag)+2 || strings.IndexByte(key, 0) >= 0 {
			t.Errorf("%q has the key %q", tag, key)
		}
		// A key in a list has the tag behind it, so none may be the beginning of another one.
		if other := tags.Draw(t, "other"); core.VersionKey(other) != key && strings.HasPrefix(core.VersionKey(other), key) {
			t.Errorf("the key of %q begins with that of %q", other, tag)
		}
	})
}

func TestVersionsOfNumbersSortByThem(t *testing.T) {
	numbers := rapid.SliceOfN(rapid.IntRange(0, 1<<40), 1, 5)
	rapid.Check(t, func(t *rapid.T) {
		a, b := numbers.Draw(t, "a"), numbers.Draw(t, "b")
		if rapid.Bool().Draw(t, "alike") {
			b = slices.Clone(a)
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")]++
		}
		if got, want := cmp.Compare(core.VersionKey(dotted(a)), core.VersionKey(dotted(b))), slices.Compare(a, b); got != want {
			t.Errorf("%s and %s: got %d, want %d", dotted(a), dotted(b), got, want)
		}
	})
}

func dotted(numbers []int) string {
	var parts []string
	for _, n := range numbers {
		parts = append(parts, strconv.Itoa(n))
	}
	return strings.Join(parts, ".")
}

// Of versions whose pre-releases are words or numbers, semver.org and we say the same.
func TestVersionsAreInTheOrderOfSemanticVersioning(t *testing.T) {
	part := rapid.OneOf(rapid.SampledFrom([]string{"alpha", "beta", "rc", "a", "b"}), rapid.Map(rapid.IntRange(0, 120), strconv.Itoa))
	version := rapid.Custom(func(t *rapid.T) string {
		n := rapid.SliceOfN(rapid.IntRange(0, 12), 3, 3).Draw(t, "numbers")
		v := fmt.Sprintf("v%d.%d.%d", n[0]%2, n[1]%3, n[2])
		if pre := rapid.SliceOfN(part, 0, 3).Draw(t, "pre-release"); len(pre) > 0 {
			v += "-" + strings.Join(pre, ".")
		}
		return v
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := version.Draw(t, "a"), version.Draw(t, "b")
		want := semver.MustParse(a).Compare(semver.MustParse(b))
		if got := cmp.Compare(core.VersionKey(a), core.VersionKey(b)); got != want {
			t.Errorf("%s and %s: got %d, want %d", a, b, got, want)
		}
	})
}
