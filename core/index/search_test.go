package index_test

import (
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// A search in texts finds them in any letter case and with any letters, and nothing else.
func TestTextsAreSought(t *testing.T) {
	x := open(t, "")
	defer x.Close()
	complete(t, x)
	for repo, says := range map[string]string{
		"a/plain": "A Small Service", "b/umlaut": "Gr\u00fcne \u00c4PFEL", "c/quoted": `the "best" <b>one</b> \ here`, "d/small-name": "", "e/none": "nothing",
	} {
		c := held(repo, 1)
		c.Image.Annotations = map[string]string{ocispec.AnnotationDescription: says}
		x.Apply(c)
		x.Apply(tagged(repo, 1))
	}
	for part, want := range map[string][]string{
		"SMALL": {"a/plain", "d/small-name"}, "small s": {"a/plain"}, "\u00e4pfel": {"b/umlaut"}, "gr\u00dcne": {"b/umlaut"}, `"best" <B>`: {"c/quoted"}, `\ h`: {"c/quoted"},
		"not there": nil,
	} {
		for _, order := range []core.RepositoryOrder{core.RepositoriesByName, core.RepositoriesByPush, core.RepositoriesBySize} {
			var got []string
			for _, row := range take(t, 9, x.RepositoryRows(core.WithSoughtText(t.Context(), part), "", order, "")) {
				got = append(got, row.Name)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%q in the order of %s: got %q, want %q", part, order, got, want)
			}
		}
		var got []string
		for _, row := range take(t, 9, x.RepositoryRows(core.WithSought(t.Context(), part), "", core.RepositoriesByName, "")) {
			got = append(got, row.Name)
		}
		if part == "SMALL" != slices.Equal(got, []string{"d/small-name"}) {
			t.Errorf("names with %q: got %q", part, got)
		}
	}
}
