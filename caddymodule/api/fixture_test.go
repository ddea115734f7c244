package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/policies"
)

// quiet is a bucket that counts what answers must not do: read the bucket at all.
type quiet struct {
	*dir.Bucket
	reads atomic.Int64
}

func (q *quiet) Get(ctx context.Context, key string) ([]byte, bucket.Info, error) {
	q.reads.Add(1)
	return q.Bucket.Get(ctx, key)
}

func (q *quiet) Open(ctx context.Context, key string) (bucket.Object, error) {
	q.reads.Add(1)
	return q.Bucket.Open(ctx, key)
}

func (q *quiet) Stat(ctx context.Context, key string) (bucket.Info, error) {
	q.reads.Add(1)
	return q.Bucket.Stat(ctx, key)
}

func (q *quiet) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	q.reads.Add(1)
	return q.Bucket.List(ctx, prefix, after)
}

// registry is a store of pushed images and one that stands for a mirror's.
type registry struct {
	*testing.T
	*namespace.Union
	buckets         []*quiet
	private, mirror *store.Store
	pushes          atomic.Int64
}

const hub = "docker.io"

func owner(repo string) (string, bool) {
	if first, _, _ := strings.Cut(repo, "/"); first == hub {
		return hub, true
	}
	return "", true
}

func mirrorOf(repo string) string { mirror, _ := owner(repo); return mirror }

// newRegistry returns an empty registry.
func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{T: t}
	r.private, r.mirror = r.open(false), r.open(true)
	r.Union = namespace.New(owner, map[string]core.Registry{"": r.private, hub: r.mirror})
	return r
}

func (r *registry) open(sparse bool) *store.Store {
	r.Helper()
	path := r.TempDir()
	storage, err := dir.Open(path, dir.Config{Sync: func(*os.File) error { return nil }})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { storage.Close() })
	b, err := storage.Bucket("tree")
	if err != nil {
		r.Fatal(err)
	}
	q := &quiet{Bucket: b}
	r.buckets = append(r.buckets, q)
	x, err := index.ForStore(filepath.Join(r.TempDir(), "index.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		r.Fatal(err)
	}
	now := func() time.Time { return time.Now().Add(time.Duration(r.pushes.Load()) * time.Minute) }
	s, err := store.Open(r.Context(), q, store.Config{Names: x, Projection: x, Sparse: sparse, Now: now})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { s.Close() })
	for until := time.Now().Add(time.Minute); !x.Whole(); runtime.Gosched() {
		if time.Now().After(until) {
			r.Fatal("the catalog is not whole")
		}
	}
	return s
}

// push puts a manifest with a layer of its own and one that all have, and returns its digest.
// It is a minute later than the push before.
func (r *registry) push(repo, layer string, tags ...string) digest.Digest {
	r.Helper()
	r.pushes.Add(1)
	for _, blob := range []string{"{}", base, layer} {
		r.blob(repo, blob)
	}
	layers := []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(base), Size: int64(len(base))},
		{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(layer), Size: int64(len(layer))},
	}
	return r.put(repo, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Layers: layers,
		Config:      ocispec.Descriptor{MediaType: "x/y", Digest: digest.FromString("{}"), Size: 2},
		Annotations: map[string]string{ocispec.AnnotationTitle: "about " + layer},
	}, tags...)
}

// base is the layer that all images have.
var base = strings.Repeat("b", 1000)

func (r *registry) storeOf(repo string) *store.Store {
	if mirrorOf(repo) != "" {
		return r.mirror
	}
	return r.private
}

func (r *registry) blob(repo, content string) {
	r.Helper()
	up, err := r.storeOf(repo).NewUpload(r.Context(), repo, digest.SHA256)
	if err != nil {
		r.Fatal(err)
	}
	defer up.Close()
	if _, err := up.Append(r.Context(), 0, strings.NewReader(content)); err != nil {
		r.Fatal(err)
	}
	if _, err := up.Commit(r.Context(), digest.FromString(content)); err != nil {
		r.Fatal(err)
	}
}

func (r *registry) put(repo, mediaType string, manifest any, tags ...string) digest.Digest {
	r.Helper()
	data, err := json.Marshal(manifest)
	if err != nil {
		r.Fatal(err)
	}
	ctx := core.WithAccess(r.Context(), core.Access{Caller: "erich", Known: true, Create: true})
	put, err := r.storeOf(repo).PutManifest(ctx, repo, core.ManifestPut{MediaType: mediaType, Bytes: data, Tags: tags})
	if err != nil {
		r.Fatal(err)
	}
	return put.Descriptor.Digest
}

// sealer is a wire.Cursors that hides nothing, and refuses what it did not seal for the purpose.
type sealer struct{}

func (sealer) Seal(purpose string, plain []byte) []byte {
	return append([]byte(purpose+"\x01"), plain...)
}

func (sealer) Unseal(purpose string, sealed []byte) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), purpose+"\x01")
	if !ok {
		return nil, fmt.Errorf("sealed for something else")
	}
	return []byte(plain), nil
}

var (
	anonymous = policies.Identity{}
	erich     = policies.Identity{User: "erich", Groups: []string{"admins"}}
)

// everything is a policy that allows all to everybody.
type everything struct{}

func (everything) Allows(policies.Identity, policies.Action, string) bool   { return true }
func (everything) AllowsEverywhere(policies.Identity, policies.Action) bool { return true }
func (r *registry) as(who policies.Identity, policy policies.Policy) *api.API {
	return &api.API{
		Registry: policies.Guard(r.Union, policy, who), Mirror: mirrorOf, Cursors: sealer{},
		MayDelete: func(repo string) error { return policies.May(policy, who, policies.Delete, repo) },
	}
}

// ask sends a request and returns the answer. Its JSON is read into into, unless that is nil.
func ask(t *testing.T, a http.Handler, method, target string, into any) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	a.ServeHTTP(answer, httptest.NewRequest(method, target, nil))
	if got := answer.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: got the type %q", method, target, got)
	}
	if got := answer.Header().Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("%s %s: got the Cache-Control %q", method, target, got)
	}
	if method == http.MethodHead {
		if answer.Body.Len() > 0 {
			t.Errorf("%s %s has a body: %s", method, target, answer.Body)
		}
	} else if into != nil {
		if err := json.Unmarshal(answer.Body.Bytes(), into); err != nil {
			t.Fatalf("%s %s: %v: %s", method, target, err, answer.Body)
		}
	}
	return answer
}

// get asks for something that there is.
func get[T any](t *testing.T, a http.Handler, target string) (answer T) {
	t.Helper()
	if got := ask(t, a, http.MethodGet, target, &answer); got.Code != http.StatusOK {
		t.Fatalf("GET %s: got %d %s", target, got.Code, got.Body)
	}
	return answer
}

// pages returns all rows of a list, of which each answer has at most n, and how many answers there
// were.
func pages(t *testing.T, a http.Handler, target string, n int) (all api.List, answers int) {
	t.Helper()
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	after := ""
	for {
		page := get[api.List](t, a, fmt.Sprintf("%s%sn=%d%s", target, separator, n, after))
		if answers++; answers > 100 {
			t.Fatalf("%s does not end", target)
		}
		all.Repositories = append(all.Repositories, page.Repositories...)
		all.Tags = append(all.Tags, page.Tags...)
		all.Content = append(all.Content, page.Content...)
		all.Images = append(all.Images, page.Images...)
		all.Users = append(all.Users, page.Users...)
		if rows := len(page.Repositories) + len(page.Tags) + len(page.Content) + len(page.Images) + len(page.Users); rows > n {
			t.Errorf("%s: an answer has %d rows, want at most %d", target, rows, n)
		}
		if page.More != (page.After != "") || page.Incomplete {
			t.Errorf("%s: got more %v, after %q, incomplete %v", target, page.More, page.After, page.Incomplete)
		}
		if !page.More {
			return all, answers
		}
		after = "&after=" + page.After
	}
}

// names are the repositories, tags or holders of a list, as "repository", "repository:tag" or
// "repository@digest".
func names(l api.List) (all []string) {
	for _, r := range l.Repositories {
		all = append(all, r.Name)
	}
	for _, tag := range l.Tags {
		all = append(all, tag.Repository+":"+tag.Name)
	}
	for _, c := range slices.Concat(l.Content, l.Users) {
		all = append(all, c.Repository+"@"+string(c.Digest))
	}
	for _, i := range l.Images {
		all = append(all, string(i.Digest))
	}
	return all
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
