package namespace

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/wire"
)

// names is a Registry that lists these repositories, mounts anything, and answers
// reads with the name that it was asked for.
type names struct {
	core.Unimplemented
	list []string
	fail error // ends the list
}

func (n *names) Repositories(_ context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, name := range n.list {
			if name > after && !yield(name, nil) {
				return
			}
		}
		if n.fail != nil {
			yield("", n.fail)
		}
	}
}

func (n *names) Holders(ctx context.Context, _ digest.Digest) iter.Seq2[string, error] {
	return n.Repositories(ctx, "")
}

func (n *names) Mount(_ context.Context, _, _ string, d digest.Digest) (core.Descriptor, error) {
	return core.Descriptor{Digest: d}, nil
}

func (n *names) Resolve(_ context.Context, repo string, _ core.Reference) (core.Descriptor, error) {
	return core.Descriptor{ArtifactType: repo}, nil
}

// registries is a union of these by the first component of a name.
func registries(byFirst map[string]core.Registry) *Union {
	return New(func(repo string) (string, bool) {
		first, _, _ := strings.Cut(repo, "/")
		return first, byFirst[first] != nil
	}, byFirst)
}

var (
	left    = &names{list: []string{"a/1", "a/3", "b/7", "z/1"}}
	right   = &names{list: []string{"a/2", "b/1", "b/2"}}
	content = digest.FromString("content")
)

func both() *Union { return registries(map[string]core.Registry{"a": left, "b": right}) }

// apart gives one name to the right registry, and all others to the left one.
func apart(repo string) (string, bool) {
	if repo == "a/2" {
		return "right", true
	}
	return "left", true
}

func TestUnionListsEachNameOnceInOrder(t *testing.T) {
	for _, row := range []struct {
		name     string
		registry core.Registry
		after    string
		want     []string
	}{
		// b/7 is in the left registry but belongs to the right one, z/1 to none.
		{"two registries", both(), "", []string{"a/1", "a/3", "b/1", "b/2"}},
		{"two registries from the middle", both(), "a/3", []string{"b/1", "b/2"}},
		{"two registries from the end", both(), "b/2", nil},
		{"interleaved", New(apart, map[string]core.Registry{"left": left, "right": right}), "", []string{"a/1", "a/2", "a/3", "b/7", "z/1"}},
		{"one registry", registries(map[string]core.Registry{"a": left}), "", []string{"a/1", "a/3"}},
		{"no registry", registries(nil), "", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for name, err := range row.registry.Repositories(context.Background(), row.after) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, name)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestUnionListEndsAtAnError(t *testing.T) {
	broken := &names{list: []string{"b/1"}, fail: core.ErrUnavailable}
	registry := registries(map[string]core.Registry{"a": left, "b": broken})
	var failed, names int
	for _, err := range registry.Holders(context.Background(), content) {
		if err != nil {
			failed++
		} else {
			names++
		}
	}
	if failed != 1 || names != 3 {
		t.Errorf("got %d names and %d errors, want 3 names and then one error", names, failed)
	}
}

// A list that pauses has its say when all names before that place were yielded: who goes
// on behind it misses none.
func TestUnionGoesOnBehindAPause(t *testing.T) {
	const hidden = 2*core.MaxPassed + 10
	long := &names{list: []string{"b/0"}}
	for i := range hidden {
		long.list = append(long.list, fmt.Sprintf("b/h%05d", i))
	}
	long.list = append(long.list, "b/z")
	visible := filtered{long, func(name string) bool { return !strings.HasPrefix(name, "b/h") }}
	// Between and behind what the other list passes over.
	short := &names{list: []string{"a/1", "b/h00500/a", "b/h01500/a", "c/1"}}
	registry := New(func(repo string) (string, bool) {
		if strings.HasSuffix(repo, "1") || strings.HasSuffix(repo, "/a") {
			return "short", true
		}
		return "long", strings.HasPrefix(repo, "b/")
	}, map[string]core.Registry{"short": short, "long": visible})
	var got []string
	pages, after := 0, ""
	for more := true; more; pages++ {
		more = false
		for name, err := range registry.Repositories(context.Background(), after) {
			var pause *core.Pause
			if errors.As(err, &pause) {
				after, more = pause.After, true
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
	}
	if want := []string{"a/1", "b/0", "b/h00500/a", "b/h01500/a", "b/z", "c/1"}; !slices.Equal(got, want) || pages != 3 {
		t.Errorf("got %q on %d pages, want %q on 3", got, pages, want)
	}
}

// filtered leaves names out.
type filtered struct {
	*names
	visible func(string) bool
}

func (f filtered) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return core.Filter(f.names.Repositories(ctx, after), f.visible)
}

func TestUnionListStopsWhenTheCallerDoes(t *testing.T) {
	seen := 0
	for range both().Repositories(context.Background(), "") {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("saw %d names", seen)
	}
}

func TestUnionMounts(t *testing.T) {
	for _, row := range []struct {
		name, repo, from string
		want             error
	}{
		{"within a registry", "a/1", "a/3", nil},
		{"without from", "a/1", "", nil},
		// Knowing a digest must not be enough to read another registry's content.
		{"across registries", "a/1", "b/1", core.ErrBlobUnknown},
		{"from a name that nobody claims", "a/1", "z/1", core.ErrBlobUnknown},
		{"into a name that nobody claims", "z/1", "a/1", core.ErrNameUnknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := both().Mount(context.Background(), row.repo, row.from, content); !errors.Is(err, row.want) {
				t.Errorf("got error %v, want %v", err, row.want)
			}
		})
	}
}

func TestTheUnionIsLeftOutWhereOneRegistryAnswers(t *testing.T) {
	u := both()
	for _, row := range []struct {
		name     string
		resolved Resolved
		want     core.Registry
	}{
		{"a read", Resolved{Request: wire.Request{Kind: wire.Manifest, Repo: "a/1"}, Mirror: "a"}, left},
		{"a read of a mirror", Resolved{Request: wire.Request{Kind: wire.Blob, Repo: "b/1"}, Mirror: "b"}, right},
		// It names a second repository, or looks for one.
		{"a mount", Resolved{Request: wire.Request{Kind: wire.StartUpload, Repo: "a/1", Mount: content}, Mirror: "a"}, u},
		{"the catalog", Resolved{Request: wire.Request{Kind: wire.Catalog}}, u},
		{"a mirror that is not there", Resolved{Request: wire.Request{Kind: wire.Manifest, Repo: "z/1"}, Mirror: "z"}, u},
	} {
		if got := u.For(row.resolved); got != row.want {
			t.Errorf("%s: got %T, want %T", row.name, got, row.want)
		}
	}
}

// Every method that acts in one repository reaches the registry of that name, and
// none at all for a name that nobody claims.
func TestUnionRoutesEveryMethod(t *testing.T) {
	across := map[string]bool{"Repositories": true, "Holders": true, "RepositoryRows": true, "ContentRows": true, "CatalogState": true}
	registry := reflect.TypeFor[core.Registry]()
	for method := range registry.Methods() {
		if across[method.Name] {
			continue
		}
		t.Run(method.Name, func(t *testing.T) {
			// The registries behind refuse with ErrUnsupported: seeing that is being routed.
			registry := registries(map[string]core.Registry{"a": core.Unimplemented{}})
			err := call(registry, method.Name, "a/1")
			if !errors.Is(err, core.ErrUnsupported) {
				t.Errorf("a claimed name: got error %v, want the registry's own", err)
			}
			want := core.ErrNameUnknown
			if method.Name == "Referrers" {
				want = nil // spec.md, end-12: an unknown subject has no referrers
			}
			if err := call(registry, method.Name, "z/1"); want == nil && err != nil || want != nil && !errors.Is(err, want) {
				t.Errorf("a name that nobody claims: got error %v, want %v", err, want)
			}
		})
	}
}

// call calls a method for repo with zero values for the rest, and returns its error.
func call(registry core.Registry, method, repo string) error {
	fn := reflect.ValueOf(registry).MethodByName(method)
	args := []reflect.Value{reflect.ValueOf(context.Background()), reflect.ValueOf(repo)}
	for i := len(args); i < fn.Type().NumIn(); i++ {
		args = append(args, reflect.Zero(fn.Type().In(i)))
	}
	results := fn.Call(args)
	last := results[len(results)-1]
	if err, ok := last.Interface().(error); ok {
		return err
	}
	if last.Kind() == reflect.Func { // a sequence: its first error
		for _, err := range last.Seq2() {
			err, _ := err.Interface().(error)
			return err
		}
	}
	return nil
}

// shut is a registry that admits no manifest.
type shut struct{ names }

func (*shut) AdmitManifest(context.Context, string) error { return core.ErrDenied }

func TestTheUnionAsksWhoeverHasTheNameBeforeAManifest(t *testing.T) {
	u := registries(map[string]core.Registry{"a": left, "m": &shut{}})
	for repo, want := range map[string]error{"a/1": nil, "m/1": core.ErrDenied, "x/1": core.ErrNameUnknown} {
		if err := core.AdmitManifest(t.Context(), u, repo); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", repo, err, want)
		}
	}
}
