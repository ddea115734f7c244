package index_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// BenchmarkSearch is a search that finds nothing in 100,000 repositories, each of which says some 250
// bytes of itself: by names, and by what they say.
func BenchmarkSearch(b *testing.B) {
	x := open(b, "")
	defer x.Close()
	complete(b, x)
	for i := range 100_000 {
		repo := fmt.Sprintf("team%d/app%d", i%100, i)
		c := held(repo, i)
		c.Image.Annotations = map[string]string{ocispec.AnnotationTitle: repo, ocispec.AnnotationDescription: strings.Repeat("A small service. ", 14)}
		x.Apply(c)
		x.Apply(tagged(repo, i))
	}
	for name, with := range map[string]func(context.Context, string) context.Context{"names": core.WithSought, "texts": core.WithSoughtText} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got := take(b, 1, x.RepositoryRows(with(context.Background(), "nothing-like-it"), "", core.RepositoriesByName, "")); got != nil {
					b.Fatal(got)
				}
			}
		})
	}
}
