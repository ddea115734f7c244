package zot_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/zot"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

const (
	nginx = "docker.io/library/nginx"
	tool  = "ghcr.io/owner/tool"
)

// cached is a private store and the mirrors of docker.io and ghcr.io, whose upstreams are fakes.
type cached struct {
	target
	network   *upstreamtest.Network
	upstreams map[string]*upstreamtest.Upstream
	mirrors   map[string]*mirror.Mirror
	local     *store.Store
	state     bucket.Bucket // below local
	user      string
	room      int64 // of the mirrors, in bytes

	mu   sync.Mutex // guards kept
	kept int64
}

// openCached opens the mirrors; user is that of their credentials, or empty.
func openCached(t *testing.T, user string) *cached {
	t.Helper()
	c := &cached{
		target: openTarget(t, t.TempDir()), network: upstreamtest.NewNetwork(), room: 1 << 30,
		upstreams: map[string]*upstreamtest.Upstream{}, mirrors: map[string]*mirror.Mirror{},
	}
	storage, err := dir.Open(t.TempDir(), dir.Config{Verify: store.Verify})
	must(t, err)
	b, err := storage.Bucket("mirrors")
	must(t, err)
	c.local, err = store.Open(t.Context(), b, store.Config{Names: &coretest.MemoryNames{}, Sparse: true})
	must(t, err)
	t.Cleanup(func() { must(t, c.local.Close(), storage.Close()) })
	c.state, c.user = b, user
	for name, kind := range map[string]upstreamtest.Kind{"docker.io": upstreamtest.Hub, "ghcr.io": upstreamtest.GHCR} {
		c.upstreams[name] = upstreamtest.New(t, upstreamtest.Config{Kind: kind, Network: c.network, Name: name + ".test"})
	}
	c.openMirrors(t)
	return c
}

// openMirrors opens new mirrors, which remember nothing of what their upstreams have answered.
func (c *cached) openMirrors(t *testing.T) {
	t.Helper()
	for name, up := range c.upstreams {
		config := upstream.Config{Name: name, URLs: []string{up.URL}, Dial: c.network.Dial}
		if c.user != "" {
			config.User, config.Secret = c.user, "secret"
		}
		client, err := upstream.New(config)
		must(t, err)
		m, err := mirror.New(mirror.Config{Name: name, Local: c.local, State: c.state, Upstream: client})
		must(t, err)
		t.Cleanup(func() { must(t, m.Close(), client.Close()) })
		c.mirrors[name] = m
	}
}

// seeded imports everything, mirrors too.
func (c *cached) seeded(t *testing.T, root string, change func(*transfer.Config)) (transfer.Summary, map[string]transfer.Item) {
	t.Helper()
	site := &namespace.Site{Mirrors: []string{"docker.io", "ghcr.io"}}
	return c.imported(t, root, func(config *transfer.Config) {
		config.Name = func(name string) (string, error) {
			repo, _, _ := site.Canonical(name)
			return repo, nil
		}
		config.Mirror = func(name string) (*transfer.Mirror, error) {
			m := c.mirrors[strings.SplitN(name, "/", 2)[0]]
			if m == nil {
				return nil, nil
			}
			return &transfer.Mirror{
				Target: c.local, Upstream: m,
				Room: func(_ context.Context, _ string, size int64) error {
					if size > c.room {
						return transfer.Skip("the mirror is full")
					}
					return nil
				},
				Kept: func(_ string, size int64) {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.kept += size
				},
			}, nil
		}
		if change != nil {
			change(config)
		}
	})
}

// publish gives an upstream an image that a zot holds, with its blobs, and returns its digest and its blobs.
func (c *cached) publish(t *testing.T, root, from, host, remote, tag string) (digest.Digest, []digest.Digest) {
	t.Helper()
	d, data, mediaType := imageOf(t, root, from)
	c.upstreams[host].Manifest(remote, mediaType, data, tag)
	return d, c.blobs(t, root, from, host, remote, data)
}

// blobs gives an upstream the blobs of an image.
func (c *cached) blobs(t *testing.T, root, from, host, remote string, manifest []byte) (all []digest.Digest) {
	t.Helper()
	doc, err := core.Inspect(manifest)
	must(t, err)
	source, err := zot.Open(root)
	must(t, err)
	defer source.Close()
	for _, desc := range doc.Required() {
		blob, _, err := source.Blob(t.Context(), from, desc.Digest)
		must(t, err)
		content, err := io.ReadAll(blob)
		must(t, err, blob.Close())
		c.upstreams[host].BlobAs(remote, desc.Digest, content)
		all = append(all, desc.Digest)
	}
	return all
}

// imageOf is the one image of a repository of a zot.
func imageOf(t *testing.T, root, repo string) (digest.Digest, []byte, string) {
	t.Helper()
	source, err := zot.Open(root)
	must(t, err)
	defer source.Close()
	images, err := source.Images(t.Context(), repo)
	must(t, err)
	if len(images) != 1 {
		t.Fatalf("%s has %d images", repo, len(images))
	}
	data, err := source.Manifest(t.Context(), repo, images[0].Digest)
	must(t, err)
	return images[0].Digest, data, images[0].MediaType
}

// contents are the requests for content: what an upstream has sent.
func (c *cached) contents(host string) (got []string) {
	for _, r := range c.upstreams[host].Recorded() {
		if r.Method == "GET" && (strings.Contains(r.Path, "/blobs/") || strings.Contains(r.Path, "/manifests/")) {
			got = append(got, r.String())
		}
	}
	return got
}

var (
	anybody = core.WithAccess(context.Background(), core.Access{Fetch: true})
	reader  = core.WithAccess(context.Background(), core.Access{}) // who may not have the upstream asked
)

// pull reads an image as a client does, and returns how many of its blobs came whole.
func (c *cached) pull(ctx context.Context, repo, ref string) (whole int, err error) {
	parsed, err := core.ParseReference(ref)
	if err != nil {
		return 0, err
	}
	m := c.mirrors[strings.SplitN(repo, "/", 2)[0]]
	found, err := m.Manifest(ctx, repo, parsed)
	if err != nil {
		return 0, err
	}
	doc, err := core.Inspect(found.Bytes)
	if err != nil {
		return 0, err
	}
	for _, desc := range doc.Required() {
		blob, err := m.Blob(ctx, repo, desc.Digest)
		if err != nil {
			return whole, err
		}
		data, err := io.ReadAll(blob)
		if err = errors.Join(err, blob.Close()); err != nil {
			return whole, err
		}
		if digest.FromBytes(data) == desc.Digest {
			whole++
		}
	}
	return whole, nil
}

// heldNothing checks that the mirrors hold no content of a repository.
func (c *cached) heldNothing(t *testing.T, repo string, ds ...digest.Digest) {
	t.Helper()
	for _, d := range ds {
		if _, err := c.local.Stat(t.Context(), repo, d); err == nil {
			t.Errorf("%s of %s is held", d, repo)
		}
		if _, err := c.local.Manifest(t.Context(), repo, core.Reference{Digest: d}); err == nil {
			t.Errorf("manifest %s of %s is held", d, repo)
		}
		if _, err := c.mirrors[strings.SplitN(repo, "/", 2)[0]].Stat(reader, repo, d); err == nil {
			t.Errorf("%s of %s is served to a caller who may not have the upstream asked", d, repo)
		}
	}
}

// Images that zot has cached are there after an import as if they had been pulled, if the upstream
// shows them. Others are not served.
func TestWhatAZotHasCachedOfAnUpstream(t *testing.T) {
	root := fixture(t)
	c := openCached(t, "")
	image, blobs := c.publish(t, root, "docker.io/nginx", "docker.io", "library/nginx", "1.27")
	c.publish(t, root, "blumeops/quartz", "docker.io", "library/quartz", "v1") // nobody has pulled it through zot
	toolImage, toolManifest, _ := imageOf(t, root, "ghcr.io/owner/tool")
	c.upstreams["ghcr.io"].Blob("owner/tool", []byte("something else")) // so that the repository exists
	c.heldNothing(t, nginx, append(blobs, image)...)

	summary, items := c.seeded(t, root, nil)
	for key, want := range map[string]transfer.Outcome{
		"docker.io/library/nginx 1.27": transfer.Imported, "docker.io/nginx 1.27": transfer.Unchanged,
		"ghcr.io/owner/tool v3": transfer.NotServed,
	} {
		if got := items[key]; got.Outcome != want || got.Outcome == transfer.NotServed && !strings.Contains(got.Reason, "does not show this manifest") {
			t.Errorf("%s: %+v, want %s", key, got, want)
		}
	}
	if summary.NotServed != 1 || c.kept == 0 {
		t.Errorf("summary %+v, %d bytes kept", summary, c.kept)
	}

	hub := c.upstreams["docker.io"]
	hub.Forget()
	if whole, err := c.pull(anybody, nginx, "1.27"); err != nil || whole != len(blobs) {
		t.Fatalf("the seeded image: %d of %d blobs, %v", whole, len(blobs), err)
	}
	if got := c.contents("docker.io"); len(got) > 0 {
		t.Errorf("a pull of the seeded image fetched %q", got)
	}
	for _, ref := range []string{"1.27", string(image)} {
		if whole, err := c.pull(reader, nginx, ref); err != nil || whole != len(blobs) {
			t.Errorf("%s, without the right to ask the upstream: %d blobs, %v", ref, whole, err)
		}
	}
	if _, err := c.pull(anybody, "docker.io/library/quartz", "v1"); err != nil {
		t.Fatal(err)
	}
	if got := c.contents("docker.io"); len(got) == 0 {
		t.Error("a pull of an image that was not seeded fetched nothing: this test counts wrong")
	}

	doc, err := core.Inspect(toolManifest)
	must(t, err)
	for _, desc := range doc.Required() {
		c.heldNothing(t, tool, desc.Digest)
	}
	c.heldNothing(t, tool, toolImage)
	for _, ref := range []string{"v3", string(toolImage)} {
		if _, err := c.pull(anybody, tool, ref); !errors.Is(err, core.ErrManifestUnknown) {
			t.Errorf("%s of what the upstream does not have: %v", ref, err)
		}
	}

	summary, items = c.seeded(t, root, nil)
	if got := items["docker.io/library/nginx 1.27"]; got.Outcome != transfer.Unchanged || summary.Blobs != 0 {
		t.Errorf("the second import: %+v, %+v", got, summary)
	}
}

// zot converts manifests unless it is told not to. The blobs are still those of the upstream's own
// manifest, which is then all that a pull fetches.
func TestWhatAZotHasConverted(t *testing.T) {
	root := fixture(t)
	c := openCached(t, "")
	converted, manifest, _ := imageOf(t, root, "docker.io/nginx")
	blobs := c.blobs(t, root, "docker.io/nginx", "docker.io", "library/nginx", manifest)
	own := []byte(strings.Replace(string(manifest), "{", `{ "annotations": {"as": "the upstream has it"},`, 1))
	c.upstreams["docker.io"].Manifest("library/nginx", ocispec.MediaTypeImageManifest, own, "1.27")

	_, items := c.seeded(t, root, nil)
	if got := items["docker.io/library/nginx 1.27"]; got.Outcome != transfer.NotServed || !strings.Contains(got.Reason, "blobs, which are kept") {
		t.Errorf("%+v", got)
	}
	if _, err := c.local.Manifest(t.Context(), nginx, core.Reference{Digest: converted}); err == nil {
		t.Error("the converted manifest is held")
	}
	c.upstreams["docker.io"].Forget()
	if whole, err := c.pull(anybody, nginx, "1.27"); err != nil || whole != len(blobs) {
		t.Fatalf("%d of %d blobs, %v", whole, len(blobs), err)
	}
	for _, r := range c.contents("docker.io") {
		if strings.Contains(r, "/blobs/") {
			t.Errorf("fetched %s", r)
		}
	}
}

// A tag that has moved at the upstream names there what a pull gets. The image is still there by its
// digest.
func TestATagThatHasMovedAtTheUpstream(t *testing.T) {
	root := fixture(t)
	c := openCached(t, "")
	image, blobs := c.publish(t, root, "docker.io/nginx", "docker.io", "library/nginx", "1.27")
	moved, _ := c.publish(t, root, "blumeops/quartz", "docker.io", "library/nginx", "1.27")
	_, items := c.seeded(t, root, nil)
	if got := items["docker.io/library/nginx 1.27"]; got.Outcome != transfer.Imported {
		t.Errorf("%+v", got)
	}
	if got, err := c.local.Resolve(t.Context(), nginx, core.Reference{Tag: "1.27"}); err == nil {
		t.Errorf("the tag is here, and names %s", got.Digest)
	}
	if whole, err := c.pull(reader, nginx, string(image)); err != nil || whole != len(blobs) {
		t.Errorf("by digest: %d blobs, %v", whole, err)
	}
	if got, err := c.mirrors["docker.io"].Resolve(anybody, nginx, core.Reference{Tag: "1.27"}); err != nil || got.Digest != moved {
		t.Errorf("the tag names %s, %v, want %s", got.Digest, err, moved)
	}
}

// Blobs that no manifest names stay for the grace of the collector alone.
func TestBlobsWithoutAManifestDoNotStay(t *testing.T) {
	root := fixture(t)
	c := openCached(t, "")
	image, blobs := c.publish(t, root, "docker.io/nginx", "docker.io", "library/nginx", "1.27")
	_, manifest, _ := imageOf(t, root, "ghcr.io/owner/tool")
	unnamed := c.blobs(t, root, "ghcr.io/owner/tool", "ghcr.io", "owner/tool", manifest)
	c.seeded(t, root, nil)
	for _, d := range unnamed {
		if _, err := c.local.Stat(t.Context(), tool, d); err != nil {
			t.Fatalf("before the collector: %v", err)
		}
	}
	c.local.SetSettings(store.Settings{Grace: time.Nanosecond, Untagged: store.KeepUntagged})
	_, err := c.local.Collect(t.Context(), store.CollectOptions{})
	must(t, err)
	c.heldNothing(t, tool, unnamed...)
	if whole, err := c.pull(reader, nginx, string(image)); err != nil || whole != len(blobs) {
		t.Errorf("after the collector the image that was attested has %d of %d blobs, %v", whole, len(blobs), err)
	}
}

// That one repository shows content proves nothing about another one.
func TestEachRepositoryIsAskedFor(t *testing.T) {
	root := fixture(t)
	must(t, os.CopyFS(filepath.Join(root, "docker.io/other/nginx"), os.DirFS(filepath.Join(root, "docker.io/nginx"))))
	c := openCached(t, "")
	image, blobs := c.publish(t, root, "docker.io/nginx", "docker.io", "library/nginx", "1.27")
	_, items := c.seeded(t, root, nil)
	if got := items["docker.io/other/nginx 1.27"]; got.Outcome != transfer.NotServed {
		t.Errorf("%+v", got)
	}
	c.heldNothing(t, "docker.io/other/nginx", append(blobs, image)...)
	if got := items["docker.io/library/nginx 1.27"]; got.Outcome != transfer.Imported {
		t.Errorf("%+v", got)
	}
}

// Credentials of the mirror do not count: what only they see is not seeded.
func TestWhatTheUpstreamHidesIsNotSeeded(t *testing.T) {
	root := fixture(t)
	c := openCached(t, "user")
	image, blobs := c.publish(t, root, "ghcr.io/owner/tool", "ghcr.io", "owner/tool", "v3")
	c.upstreams["ghcr.io"].Private("owner/tool")
	_, items := c.seeded(t, root, nil)
	if got := items["ghcr.io/owner/tool v3"]; got.Outcome != transfer.NotServed {
		t.Errorf("%+v", got)
	}
	c.heldNothing(t, tool, append(blobs, image)...)
	for _, r := range c.upstreams["ghcr.io"].Recorded() {
		if r.Auth == "basic" {
			t.Errorf("credentials were used: %s", r)
		}
	}
}

// An upstream that cannot be asked has attested nothing. A later import completes what is missing.
func TestAnImportWithoutTheUpstream(t *testing.T) {
	for name, fault := range map[string]upstreamtest.Fault{
		"at all":              {Status: 503},
		"for blobs":           {Path: "/blobs/", Status: 503},
		"which answers later": {Status: 429},
		"but a portal":        {Status: 200, Body: "<html>Sign in</html>"},
	} {
		t.Run(name, func(t *testing.T) {
			root := fixture(t)
			c := openCached(t, "")
			image, blobs := c.publish(t, root, "docker.io/nginx", "docker.io", "library/nginx", "1.27")
			x := c.upstreams["docker.io"].Fault(fault)
			_, items := c.seeded(t, root, nil)
			got := items["docker.io/library/nginx 1.27"]
			if got.Outcome != transfer.LeftOut && got.Outcome != transfer.NotServed {
				t.Errorf("%+v", got)
			}
			if name != "but a portal" && !strings.Contains(got.Reason, "import again later") {
				t.Errorf("the reason is %q", got.Reason)
			}
			c.heldNothing(t, nginx, blobs...)
			if name != "for blobs" {
				c.heldNothing(t, nginx, image)
			}
			x.Lift()

			c.openMirrors(t) // the breaker of the first ones is open
			c.seeded(t, root, nil)
			for _, d := range blobs {
				if _, err := c.local.Stat(t.Context(), nginx, d); err != nil {
					t.Errorf("after the second import: %v", err)
				}
			}
			if _, err := c.local.Manifest(t.Context(), nginx, core.Reference{Digest: image}); err != nil {
				t.Errorf("after the second import: %v", err)
			}
		})
	}
}

// A dry run asks, and stores nothing. A mirror without room keeps nothing more.
func TestImportsThatSeedNothing(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*cached, *transfer.Config)
		want   transfer.Outcome
	}{
		"a dry run": {func(_ *cached, config *transfer.Config) { config.DryRun = true }, transfer.Imported},
		"a name that the mirror does not serve": {func(c *cached, _ *transfer.Config) {
			c.mirrors["docker.io"].SetSettings(mirror.Settings{Deny: globs.Globs{"docker.io/library/**"}})
		}, transfer.Skipped},
		"a mirror without room": {func(c *cached, _ *transfer.Config) { c.room = 0 }, transfer.Skipped},
	} {
		t.Run(name, func(t *testing.T) {
			root := fixture(t)
			c := openCached(t, "")
			image, blobs := c.publish(t, root, "docker.io/nginx", "docker.io", "library/nginx", "1.27")
			_, items := c.seeded(t, root, func(config *transfer.Config) { row.change(c, config) })
			if got := items["docker.io/library/nginx 1.27"]; got.Outcome != row.want {
				t.Errorf("%+v, want %s", got, row.want)
			}
			c.heldNothing(t, nginx, append(blobs, image)...)
			if c.kept != 0 {
				t.Errorf("%d bytes were kept", c.kept)
			}
		})
	}
}

// A damaged copy in zot is not stored, and the mirror fetches what is right.
func TestADamagedCopyIsNotSeeded(t *testing.T) {
	root := fixture(t)
	c := openCached(t, "")
	_, blobs := c.publish(t, root, "ghcr.io/owner/tool", "ghcr.io", "owner/tool", "v3")
	layer := blobs[len(blobs)-1]
	file := filepath.Join(root, "ghcr.io/owner/tool/blobs/sha256", layer.Encoded())
	data, err := os.ReadFile(file)
	must(t, err)
	data[0] ^= 1
	must(t, os.Remove(file), os.WriteFile(file, data, 0o600))
	_, items := c.seeded(t, root, nil)
	if got := items["ghcr.io/owner/tool v3"]; got.Outcome != transfer.LeftOut || !strings.Contains(got.Reason, "damaged") {
		t.Errorf("%+v", got)
	}
	c.heldNothing(t, tool, layer)
	if whole, err := c.pull(anybody, tool, "v3"); err != nil || whole != len(blobs) {
		t.Errorf("%d of %d blobs, %v", whole, len(blobs), err)
	}
}
