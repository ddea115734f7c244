package zot_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/zot"
)

const testdata = "testdata/zot-2.1.20/"

// fixture unpacks the directory that a zot has written, hard links as hard links.
func fixture(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	f, err := os.Open(testdata + "rootdir.tar.gz")
	must(t, err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	must(t, err)
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if err == io.EOF {
			return root
		}
		must(t, err)
		name := filepath.Join(root, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			must(t, os.MkdirAll(name, 0o700))
		case tar.TypeLink:
			must(t, os.Link(filepath.Join(root, h.Linkname), name))
		case tar.TypeReg:
			data, err := io.ReadAll(r)
			must(t, err, os.WriteFile(name, data, 0o600), os.Chtimes(name, h.ModTime, h.ModTime))
		default:
			t.Fatalf("the fixture has %s of type %c", h.Name, h.Typeflag)
		}
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// target is a private store.
type target struct {
	*store.Store
	bucket bucket.Bucket
}

func openTarget(t testing.TB, path string) target {
	t.Helper()
	return openTargetWith(t, path, store.Config{})
}

func openTargetWith(t testing.TB, path string, c store.Config) target {
	t.Helper()
	storage, err := dir.Open(path, dir.Config{Verify: store.Verify})
	must(t, err)
	b, err := storage.Bucket("private")
	must(t, err)
	c.Names = &coretest.MemoryNames{}
	s, err := store.Open(t.Context(), b, c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close(), storage.Close()) })
	return target{s, b}
}

// imported runs an import of everything, and returns what was reported, by repository and reference.
func (s target) imported(t testing.TB, root string, change func(*transfer.Config)) (transfer.Summary, map[string]transfer.Item) {
	t.Helper()
	source, err := zot.Open(root)
	must(t, err)
	defer source.Close()
	items := map[string]transfer.Item{}
	c := transfer.Config{
		Source: source, Target: s.Store, Notes: s.bucket,
		Name: core.ParseName, Link: true,
		Report: func(item transfer.Item) { items[item.Source+" "+item.Reference] = item },
	}
	if change != nil {
		change(&c)
	}
	summary, err := transfer.Import(t.Context(), c)
	must(t, err)
	if sum := summary.Imported + summary.Unchanged + summary.Skipped + summary.NotServed + summary.LeftOut; sum != summary.Found || sum != len(items) {
		t.Errorf("the summary does not add up: %+v, and %d items were reported", summary, len(items))
	}
	return summary, items
}

// expected is what the fixture holds, by repository and reference.
func expected(t testing.TB) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile(testdata + "expected.json")
	must(t, err)
	var want map[string]map[string]string
	must(t, json.Unmarshal(data, &want))
	return want
}

func reference(t testing.TB, s string) core.Reference {
	t.Helper()
	ref, err := core.ParseReference(s)
	must(t, err)
	return ref
}

// wantEverything checks that the target has what the fixture has, whole.
func (s target) wantEverything(t *testing.T) {
	t.Helper()
	tags := map[string][]string{}
	for repo, refs := range expected(t) {
		for ref, want := range refs {
			if want == "damaged" {
				if _, err := s.Manifest(t.Context(), repo, reference(t, ref)); !errors.Is(err, core.ErrNameUnknown) && !errors.Is(err, core.ErrManifestUnknown) {
					t.Errorf("%s:%s is damaged in zot, and was imported: %v", repo, ref, err)
				}
				continue
			}
			m, err := s.Manifest(t.Context(), repo, reference(t, ref))
			if err != nil || string(m.Descriptor.Digest) != want {
				t.Errorf("%s %s: got %s, %v, want %s", repo, ref, m.Descriptor.Digest, err, want)
				continue
			}
			if !strings.Contains(ref, ":") {
				tags[repo] = append(tags[repo], ref)
			}
			doc, err := core.Inspect(m.Bytes)
			must(t, err)
			for _, blob := range doc.Required() {
				s.wantBlob(t, repo, blob)
			}
		}
	}
	for repo, want := range tags {
		var got []string
		for tag, err := range s.Tags(t.Context(), repo, "") {
			must(t, err)
			got = append(got, tag)
		}
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s has tags %q, want %q", repo, got, want)
		}
	}
}

func (s target) wantBlob(t *testing.T, repo string, desc core.Descriptor) {
	t.Helper()
	blob, err := s.Blob(t.Context(), repo, desc.Digest)
	if err != nil {
		t.Errorf("blob of %s: %v", repo, err)
		return
	}
	defer blob.Close()
	if got, err := desc.Digest.Algorithm().FromReader(blob); err != nil || got != desc.Digest {
		t.Errorf("blob %s of %s has digest %s, %v", desc.Digest, repo, got, err)
	}
}

// look is everything about a tree that an import could change: bytes, modes, and times.
func look(t testing.TB, root string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	must(t, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := entry.Info()
		if err != nil {
			return err
		}
		seen[name] = fmt.Sprint(fi.Mode(), fi.ModTime().UnixNano())
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			seen[name] += string(digest.FromBytes(data))
			return err
		}
		return nil
	}))
	return seen
}

// Every image, tag, untagged manifest, referrer and sha512 blob is here afterwards, what is
// damaged is named, and zot's directory is as it was.
func TestTheDirectoryOfAZot(t *testing.T) {
	root := fixture(t)
	before := look(t, root)
	s := openTarget(t, t.TempDir())
	summary, items := s.imported(t, root, nil)
	s.wantEverything(t)
	if !maps.Equal(look(t, root), before) {
		t.Error("the import has changed zot's directory")
	}
	damaged := items["blumeops/damaged v1"]
	if damaged.Outcome != transfer.LeftOut || !strings.Contains(damaged.Reason, "is damaged: it is ") {
		t.Errorf("the damaged image was reported as %+v", damaged)
	}
	references := 0
	for _, refs := range expected(t) {
		references += len(refs)
	}
	if summary.LeftOut != 1 || summary.Skipped != 0 || summary.Found != references || summary.Shared == 0 {
		t.Errorf("got %+v, want %d found and one left out", summary, references)
	}
	var referrers []digest.Digest
	subject := digest.Digest(expected(t)["blumeops/app"]["v1.0.0-abc1234"])
	for desc, err := range s.Referrers(t.Context(), "blumeops/app", subject, "", "") {
		must(t, err)
		referrers = append(referrers, desc.Digest)
	}
	if len(referrers) != 1 {
		t.Errorf("the image has referrers %v, want one", referrers)
	}
	// A second import takes nothing.
	again, _ := s.imported(t, root, nil)
	if again.Imported != 0 || again.Blobs != 0 || again.Unchanged != summary.Imported || again.LeftOut != 1 {
		t.Errorf("the second import was %+v", again)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	root, path := fixture(t), t.TempDir()
	s := openTarget(t, path)
	before := look(t, path)
	summary, _ := s.imported(t, root, func(c *transfer.Config) { c.DryRun = true })
	if !maps.Equal(look(t, path), before) {
		t.Error("the storage was changed")
	}
	real, _ := s.imported(t, root, nil)
	if summary.Found != real.Found || summary.Imported != real.Imported || summary.LeftOut != real.LeftOut {
		t.Errorf("the dry run foretold %+v, and the import was %+v", summary, real)
	}
}

// An import leaves free what pushes leave free. What there is no room for is named, and the
// import ends: a full disk says nothing about the source.
func TestAnImportEndsWhereThereIsNoRoom(t *testing.T) {
	root := fixture(t)
	for name, room := range map[string]func(written, size int64) bool{
		"none":              func(int64, int64) bool { return false },
		"for small ones":    func(_, size int64) bool { return size < 2000 },
		"for the first KiB": func(written, size int64) bool { return written+size < 1024 },
	} {
		t.Run(name, func(t *testing.T) {
			s := openTarget(t, t.TempDir())
			source, err := zot.Open(root)
			must(t, err)
			defer source.Close()
			var mu sync.Mutex
			granted, items := int64(0), []transfer.Item{}
			summary, err := transfer.Import(t.Context(), transfer.Config{
				Source: source, Target: s.Store, Notes: s.bucket, Name: core.ParseName,
				Report: func(item transfer.Item) { items = append(items, item) },
				Room: func(size int64) error {
					mu.Lock()
					defer mu.Unlock()
					if !room(granted, size) {
						return fmt.Errorf("%w: %d bytes", core.ErrNoSpace, size)
					}
					granted += size
					return nil
				},
			})
			if !errors.Is(err, core.ErrNoSpace) || !strings.Contains(err.Error(), "blob sha") {
				t.Errorf("got %v, want ErrNoSpace", err)
			}
			if summary.Bytes > granted || name == "none" && summary.Blobs+summary.Imported > 0 {
				t.Errorf("%d bytes had room: %+v", granted, summary)
			}
			named := slices.ContainsFunc(items, func(item transfer.Item) bool {
				return item.Outcome == transfer.LeftOut && strings.Contains(item.Reason, "no space left") && strings.Contains(item.Reason, "blob sha")
			})
			if sum := summary.Imported + summary.Unchanged + summary.Skipped + summary.LeftOut; !named || sum != summary.Found || sum != len(items) {
				t.Errorf("got %+v, and items %+v", summary, items)
			}
			if s.imported(t, root, nil); !t.Failed() {
				s.wantEverything(t)
			}
		})
	}
}

// Other images and pushes write to the same disk, so the room is looked at while a blob is
// written, too.
func TestTheRoomEndsWithinABlob(t *testing.T) {
	root := fixture(t)
	blob := make([]byte, 20<<20)
	d := digest.FromBytes(blob)
	must(t, os.MkdirAll(filepath.Join(root, "z", "blobs", "sha256"), 0o700), os.WriteFile(filepath.Join(root, "z", "index.json"), []byte(`{"manifests":[]}`), 0o600))
	must(t, os.WriteFile(filepath.Join(root, "z", "blobs", "sha256", d.Encoded()), blob, 0o600))
	add(t, root, "z", "large", fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, d, len(blob)))
	s := openTarget(t, t.TempDir())
	source, err := zot.Open(root)
	must(t, err)
	defer source.Close()
	var items []transfer.Item
	var begun atomic.Bool
	_, err = transfer.Import(t.Context(), transfer.Config{
		Source: source, Target: s.Store, Notes: s.bucket, Name: core.ParseName,
		Report: func(item transfer.Item) { items = append(items, item) },
		Room: func(size int64) error {
			begun.CompareAndSwap(false, size == int64(len(blob)))
			if size == 0 && begun.Load() {
				return core.ErrNoSpace
			}
			return nil
		},
	})
	if !errors.Is(err, core.ErrNoSpace) || strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
	if !slices.ContainsFunc(items, func(i transfer.Item) bool { return i.Reference == "large" && i.Outcome == transfer.LeftOut }) {
		t.Errorf("the image was not named: %+v", items)
	}
	if _, err := s.Stat(t.Context(), "z", d); !errors.Is(err, core.ErrBlobUnknown) && !errors.Is(err, core.ErrNameUnknown) {
		t.Errorf("the blob is here: %v", err)
	}
}

// interrupted is a target that fails at its n-th call, as if the process was killed there.
type interrupted struct {
	*store.Store
	left atomic.Int64
}

var errKilled = errors.New("killed")

func (i *interrupted) gone() error {
	if i.left.Add(-1) < 0 {
		return errKilled
	}
	return nil
}

func (i *interrupted) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	if err := i.gone(); err != nil {
		return core.ManifestResult{}, err
	}
	result, err := i.Store.PutManifest(ctx, repo, put)
	if gone := i.gone(); gone != nil { // it was put, and nobody learned of it
		return core.ManifestResult{}, gone
	}
	return result, err
}

func (i *interrupted) Mount(ctx context.Context, repo, from string, d digest.Digest) (core.Descriptor, error) {
	if err := i.gone(); err != nil {
		return core.Descriptor{}, err
	}
	return i.Store.Mount(ctx, repo, from, d)
}

func (i *interrupted) NewUpload(ctx context.Context, repo string, algorithm digest.Algorithm) (core.Upload, error) {
	if err := i.gone(); err != nil {
		return nil, err
	}
	return i.Store.NewUpload(ctx, repo, algorithm)
}

// TestAnImportIsCutOffAnywhere ends an import at many of its writes, or at each with
// REGISTRY_SLOW; the next one goes on.
func TestAnImportIsCutOffAnywhere(t *testing.T) {
	root := fixture(t)
	step := int64(13)
	if os.Getenv("REGISTRY_SLOW") != "" {
		step = 1
	}
	for n := int64(0); ; n += step {
		s := openTarget(t, t.TempDir())
		source, err := zot.Open(root)
		must(t, err)
		cut := &interrupted{Store: s.Store}
		cut.left.Store(n)
		_, err = transfer.Import(t.Context(), transfer.Config{Source: source, Target: cut, Notes: s.bucket, Name: core.ParseName, Link: true})
		must(t, source.Close())
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		whole := err == nil
		summary, _ := s.imported(t, root, nil)
		s.wantEverything(t)
		if summary.Skipped > 0 || summary.LeftOut != 1 {
			t.Errorf("after a cut at write %d: %+v", n, summary)
		}
		if t.Failed() || whole {
			if n < 50 {
				t.Errorf("the import took %d writes", n)
			}
			return
		}
	}
}

// A second import brings what has changed in zot, and respects what was done here.
func TestASecondImportTakesTheDifference(t *testing.T) {
	root := fixture(t)
	s := openTarget(t, t.TempDir())
	s.imported(t, root, nil)
	const repo = "blumeops/app"
	refs := expected(t)[repo]
	for _, tag := range []string{"stable", "rc1", "RC1", "v1.1.0-def5678"} {
		retag(t, root, repo, tag, refs["v1.0.0-abc1234"])
	}
	move := func(tag, want string) {
		t.Helper()
		m, err := s.Manifest(t.Context(), repo, reference(t, want))
		must(t, err)
		_, err = s.PutManifest(t.Context(), repo, core.ManifestPut{MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Tags: []string{tag}})
		must(t, err)
	}
	move("RC1", refs["rc1"])                          // somebody moves a tag here,
	must(t, s.DeleteTag(t.Context(), repo, "rc1"))    // removes one,
	move("v1.1.0-def5678", refs["v1.1.0-def5678"])    // pushes one again as it is,
	must(t, s.DeleteTag(t.Context(), "single", "v1")) // and removes one that did not change
	must(t, s.DeleteManifest(t.Context(), "single", digest.Digest(expected(t)["single"]["v1"])))

	summary, items := s.imported(t, root, nil)
	for _, row := range []struct {
		repo, tag, want string
		outcome         transfer.Outcome
	}{
		{repo, "stable", refs["v1.0.0-abc1234"], transfer.Imported},
		{repo, "RC1", refs["rc1"], transfer.Skipped},
		{repo, "rc1", "", transfer.Skipped},
		{repo, "v1.1.0-def5678", refs["v1.1.0-def5678"], transfer.Skipped},
		{"single", "v1", "", transfer.Skipped},
	} {
		got, err := s.Resolve(t.Context(), row.repo, core.Reference{Tag: row.tag})
		if row.want == "" && !errors.Is(err, core.ErrManifestUnknown) && !errors.Is(err, core.ErrNameUnknown) ||
			row.want != "" && (err != nil || string(got.Digest) != row.want) {
			t.Errorf("%s:%s names %s, %v, want %q", row.repo, row.tag, got.Digest, err, row.want)
		}
		if item := items[row.repo+" "+row.tag]; item.Outcome != row.outcome || row.outcome == transfer.Skipped && item.Reason == "" {
			t.Errorf("%s:%s was reported as %+v, want %s", row.repo, row.tag, item, row.outcome)
		}
	}
	if summary.Imported != 1 || summary.Skipped != 4 {
		t.Errorf("the second import was %+v", summary)
	}
	third, _ := s.imported(t, root, nil)
	if third.Imported != 0 || third.Skipped != 4 {
		t.Errorf("the third import was %+v", third)
	}
}

// retag makes a tag of the directory name another manifest, as a push to zot would.
func retag(t testing.TB, root, repo, tag, d string) {
	t.Helper()
	file := filepath.Join(root, repo, "index.json")
	data, err := os.ReadFile(file)
	must(t, err)
	var index map[string]any
	must(t, json.Unmarshal(data, &index))
	for _, m := range index["manifests"].([]any) {
		m := m.(map[string]any)
		if annotations, ok := m["annotations"].(map[string]any); ok && annotations["org.opencontainers.image.ref.name"] == tag {
			m["digest"] = d
			data, err = json.Marshal(index)
			must(t, err, os.WriteFile(file, data, 0o600))
			return
		}
	}
	t.Fatalf("%s has no tag %s", repo, tag)
}

// The times of pushes come along: an age rule must not see everything as new.
func TestTheTimesAndThePushersOfZot(t *testing.T) {
	source, err := zot.Open(fixture(t))
	must(t, err)
	defer source.Close()
	day := time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)
	tags := 0
	for repo, err := range source.Repositories(t.Context()) {
		must(t, err)
		images, err := source.Images(t.Context(), repo)
		must(t, err)
		for _, image := range images {
			known := image.By == "zot-ci" || image.By == "eblume"
			if image.Pushed.Sub(day).Abs() > 48*time.Hour || !known && image.By != "" {
				t.Errorf("%s of %s was pushed at %v by %q", image.Digest, repo, image.Pushed, image.By)
			}
			for _, tag := range image.Tags {
				if tag.Since.Nanosecond() != 0 { // and not that of a file
					tags++
				}
				if tag.Since.Sub(day).Abs() > 48*time.Hour {
					t.Errorf("tag %s of %s is of %v", tag.Name, repo, tag.Since)
				}
			}
		}
	}
	if tags < 10 {
		t.Errorf("%d tags have a time of zot's", tags)
	}
}

// The last pulls come along, with each import, for what is here.
func TestThePullsOfZot(t *testing.T) {
	root := fixture(t)
	s := openTarget(t, t.TempDir())
	times := pulls.New(pulls.Config{Bucket: s.bucket, Prefix: "pulls/"})
	defer func() { must(t, times.Close()) }()
	with := func(c *transfer.Config) { c.Pulls = times }
	s.imported(t, root, func(c *transfer.Config) { with(c); c.DryRun = true })
	if got, err := times.Of(t.Context(), "blumeops/app"); err != nil || len(got) > 0 {
		t.Errorf("a dry run has brought pulls: %v, %v", got, err)
	}
	s.imported(t, root, nil) // the images are here without their pulls
	s.imported(t, root, with)
	got, err := times.Of(t.Context(), "blumeops/app")
	must(t, err)
	refs := expected(t)["blumeops/app"]
	want := map[digest.Digest]time.Time{
		digest.Digest(refs["v1.0.0-abc1234"]): time.Date(2026, time.November, 23, 16, 28, 21, 187209220, time.UTC),
		digest.Digest(refs["v1.1.0-def5678"]): time.Date(2026, time.November, 23, 16, 28, 21, 203928112, time.UTC),
	}
	if !maps.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("got pulls %v, want %v", got, want)
	}
	if got, err := times.Of(t.Context(), "single"); err != nil || len(got) > 0 {
		t.Errorf("what was never pulled has pulls: %v, %v", got, err)
	}
}

// The keys are those that zot has answered with when they were made.
func TestTheKeysOfZot(t *testing.T) {
	source, err := zot.Open(fixture(t))
	must(t, err)
	defer source.Close()
	keys, err := source.Keys()
	must(t, err)
	data, err := os.ReadFile(testdata + "keys.jsonl")
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(keys) != len(lines) {
		t.Fatalf("got %d keys, want %d", len(keys), len(lines))
	}
	for _, line := range lines {
		var want struct {
			APIKey, Label             string
			CreatedAt, ExpirationDate time.Time
		}
		must(t, json.Unmarshal([]byte(line), &want))
		hash := sha256.Sum256([]byte(strings.TrimPrefix(want.APIKey, "zak_")))
		i := slices.IndexFunc(keys, func(k zot.Key) bool { return k.Hash == hash })
		if i < 0 || keys[i].Label != want.Label || !keys[i].Created.Equal(want.CreatedAt) || !keys[i].Expires.Equal(want.ExpirationDate) || keys[i].Owner == "" {
			t.Errorf("key %s: got %+v of %d", want.Label, keys, i)
		}
	}
}

// A directory that somebody has prepared: nothing outside of it is read, nothing blocks,
// and everything that is wrong is left out by itself.
func TestAHostileDirectory(t *testing.T) {
	root, outside := fixture(t), t.TempDir()
	secret := []byte("a secret of this machine")
	must(t, os.WriteFile(filepath.Join(outside, "secret"), secret, 0o600))
	blobs := filepath.Join(root, "single", "blobs", "sha256")
	config := func(name string) string { return filepath.Join(blobs, digest.FromString(name).Encoded()) }
	must(t,
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(blobs, digest.FromBytes(secret).Encoded())),
		syscall.Mkfifo(config("fifo"), 0o600),
		os.Mkdir(config("directory"), 0o700),
		os.Symlink(filepath.Join(root, "single"), filepath.Join(root, "linked")),
		os.Symlink("index.json", filepath.Join(root, "blumeops", "quartz", "alias")),
	)
	image := func(tag, content string) string {
		doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`,
			digest.FromString(content), len(content))
		return add(t, root, "single", tag, doc)
	}
	image("symlink", string(secret))
	image("fifo", "fifo")
	image("directory", "directory")
	image("absent", "absent")
	add(t, root, "single", "text", []byte("no JSON at all"))
	add(t, root, "single", "no such tag!", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
	must(t, os.Remove(filepath.Join(blobs, strings.TrimPrefix(add(t, root, "single", "unheld", []byte("listed, and not there")), "sha256:"))))
	sparse := add(t, root, "single", "sparse", fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":5}]}`, digest.FromString("missing child")))
	forged := filepath.Join(blobs, strings.TrimPrefix(add(t, root, "single", "forged", []byte(`{"schemaVersion":2}`)), "sha256:"))
	must(t, os.WriteFile(forged, []byte(`{"schemaVersion":2,"manifests":[]}`), 0o600))
	must(t, os.MkdirAll(filepath.Join(root, "no index"), 0o700), os.MkdirAll(filepath.Join(root, "UPPER"), 0o700))
	must(t, os.WriteFile(filepath.Join(root, "UPPER", "index.json"), []byte(`{"manifests":[]}`), 0o600))
	must(t, os.MkdirAll(filepath.Join(root, "broken"), 0o700), os.WriteFile(filepath.Join(root, "broken", "index.json"), []byte(`{"manifests":[{"digest":"sha256:../../../secret"}]}`), 0o600))

	s := openTarget(t, t.TempDir())
	_, items := s.imported(t, root, nil)
	for reference, reason := range map[string]string{
		"single symlink":      "symbolic links are not followed",
		"single fifo":         "not a regular file",
		"single directory":    "not a regular file",
		"single absent":       "is missing",
		"single text":         "manifest invalid",
		"single no such tag!": "invalid tag",
		"single forged":       "the manifest is damaged",
		"single unheld":       "the manifest is missing",
		"UPPER ":              "invalid repository name",
		"broken ":             "digest",
	} {
		if item := items[reference]; item.Outcome != transfer.LeftOut || !strings.Contains(item.Reason, reason) {
			t.Errorf("%s was reported as %+v, want %q", reference, item, reason)
		}
	}
	if got, err := s.Resolve(t.Context(), "single", core.Reference{Tag: "sparse"}); err != nil || string(got.Digest) != sparse {
		t.Errorf("an index without its platform: got %s, %v", got.Digest, err)
	}
	// Zot does not serve the platform, either, so it is not reported as left out.
	if item := items["single sparse"]; item.Outcome != transfer.Imported || item.Absent != 1 {
		t.Errorf("an index without its platform was reported as %+v", item)
	}
	if item, ok := items["single "+digest.FromString("missing child").String()]; ok {
		t.Errorf("the platform that zot does not have was reported as %+v", item)
	}
	if _, err := s.Stat(t.Context(), "single", digest.FromBytes(secret)); !errors.Is(err, core.ErrBlobUnknown) {
		t.Errorf("a file outside of zot's directory was imported: %v", err)
	}
	for repo, err := range s.Repositories(t.Context(), "") {
		if must(t, err); strings.HasPrefix(repo, "linked") {
			t.Errorf("the linked repository %s was imported", repo)
		}
	}
	for repo, refs := range expected(t) {
		for ref, want := range refs {
			if got, err := s.Resolve(t.Context(), repo, reference(t, ref)); want != "damaged" && (err != nil || string(got.Digest) != want) {
				t.Errorf("%s %s names %s, %v", repo, ref, got.Digest, err)
			}
		}
	}
}

// add puts a manifest into a repository of the directory under a tag.
func add(t testing.TB, root, repo, tag string, doc []byte) string {
	t.Helper()
	d := digest.FromBytes(doc)
	must(t, os.WriteFile(filepath.Join(root, repo, "blobs", "sha256", d.Encoded()), doc, 0o600))
	file := filepath.Join(root, repo, "index.json")
	data, err := os.ReadFile(file)
	must(t, err)
	var index map[string]any
	must(t, json.Unmarshal(data, &index))
	index["manifests"] = append(index["manifests"].([]any), map[string]any{
		"digest": d, "size": len(doc), "annotations": map[string]string{"org.opencontainers.image.ref.name": tag},
	})
	data, err = json.Marshal(index)
	must(t, err, os.WriteFile(file, data, 0o600))
	return string(d)
}

// A source must prove that it has what it names: mentioning a digest in a
// manifest does not lead to content of others here.
func TestANamedDigestIsNotEnough(t *testing.T) {
	root := fixture(t)
	s := openTarget(t, t.TempDir())
	const content = "of another repository"
	up, err := s.NewUpload(t.Context(), "private/other", digest.SHA256)
	must(t, err)
	_, err = up.Append(t.Context(), 0, strings.NewReader(content))
	must(t, err)
	desc, err := up.Commit(t.Context(), digest.FromString(content))
	must(t, err, up.Close())
	doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, desc.Digest, desc.Size)
	add(t, root, "single", "named", doc)
	add(t, root, "single", "wrong", fmt.Appendf(nil, "%s ", doc))
	must(t, os.WriteFile(filepath.Join(root, "blumeops", "quartz", "blobs", "sha256", desc.Digest.Encoded()), []byte(strings.ToUpper(content)), 0o600))
	add(t, root, "blumeops/quartz", "wrong", doc)
	_, items := s.imported(t, root, nil)
	for _, repo := range []string{"single", "blumeops/quartz"} {
		if _, err := s.Stat(t.Context(), repo, desc.Digest); !errors.Is(err, core.ErrBlobUnknown) {
			t.Errorf("%s was given the blob: %v", repo, err)
		}
	}
	for _, reference := range []string{"single named", "single wrong", "blumeops/quartz wrong"} {
		if items[reference].Outcome != transfer.LeftOut {
			t.Errorf("%s was reported as %+v", reference, items[reference])
		}
	}
}

// A manifest that is here is noted as imported even if the note was lost, as by a power cut: a delete
// after that is respected.
func TestWhatIsHeldIsNoted(t *testing.T) {
	root := fixture(t)
	s := openTarget(t, t.TempDir())
	s.imported(t, root, nil)
	d := digest.Digest(expected(t)["single"]["v1"])
	note := "imports/single/_/" + string(d)
	_, err := s.bucket.Stat(t.Context(), note)
	must(t, err, s.bucket.Delete(t.Context(), note))
	if summary, _ := s.imported(t, root, func(c *transfer.Config) { c.DryRun = true }); summary.Imported != 0 {
		t.Errorf("a dry run: %+v", summary)
	}
	if _, err := s.bucket.Stat(t.Context(), note); !errors.Is(err, bucket.ErrNotExist) {
		t.Errorf("a dry run has noted something: %v", err)
	}
	s.imported(t, root, nil)
	must(t, s.DeleteTag(t.Context(), "single", "v1"), s.DeleteManifest(t.Context(), "single", d))
	if _, items := s.imported(t, root, nil); items["single v1"].Outcome != transfer.Skipped {
		t.Errorf("the deleted image was reported as %+v", items["single v1"])
	}
}

// An index.json is read up to a bound.
func TestALargeIndexIsLeftOut(t *testing.T) {
	root := fixture(t)
	file := filepath.Join(root, "single", "index.json")
	data, err := os.ReadFile(file)
	must(t, err, os.WriteFile(file, append(data, strings.Repeat(" ", 32<<20-len(data))...), 0o600))
	s := openTarget(t, t.TempDir())
	if _, items := s.imported(t, root, nil); items["single v1"].Outcome != transfer.Imported {
		t.Errorf("an index of 32 MiB was reported as %+v", items["single v1"])
	}
	must(t, os.WriteFile(file, append(data, strings.Repeat(" ", 32<<20+1-len(data))...), 0o600))
	if _, items := s.imported(t, root, nil); items["single "].Outcome != transfer.LeftOut || !strings.Contains(items["single "].Reason, "larger than 32 MiB") {
		t.Errorf("a larger index was reported as %+v", items["single "])
	}
}

// A branch of the database that leads back to itself would have bbolt go down for ever, until
// the process ends.
func TestADatabaseThatLeadsBackToItself(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "meta.db")
	must(t, os.MkdirAll(filepath.Join(root, "single"), 0o700), os.WriteFile(filepath.Join(root, "single", "index.json"), []byte(`{"manifests":[]}`), 0o600))
	db, err := bbolt.Open(file, 0o600, nil)
	must(t, err)
	page := db.Info().PageSize
	must(t, db.Update(func(tx *bbolt.Tx) error {
		version, err := tx.CreateBucket([]byte("Version"))
		must(t, err, version.Put([]byte("DBVersion"), []byte("V1")))
		for _, name := range []string{"RepoMeta", "UserData"} {
			b, err := tx.CreateBucket([]byte(name))
			must(t, err)
			for i := range 1000 {
				must(t, b.Put(fmt.Appendf(nil, "%0100d", i), nil))
			}
		}
		return nil
	}), db.Close())
	source, err := zot.Open(root)
	must(t, err)
	_, err = source.Images(t.Context(), "single")
	must(t, err, source.Close())
	data, err := os.ReadFile(file)
	must(t, err)
	branches := 0
	for at := 0; at < len(data); at += page {
		if binary.NativeEndian.Uint16(data[at+8:]) != 1 {
			continue
		}
		branches++
		for i := range int(binary.NativeEndian.Uint16(data[at+10:])) {
			binary.NativeEndian.PutUint64(data[at+16+16*i+8:], uint64(at/page))
		}
	}
	must(t, os.WriteFile(file, data, 0o600))
	source, err = zot.Open(root)
	must(t, err)
	defer source.Close()
	_, images := source.Images(t.Context(), "single")
	_, keys := source.Keys()
	for what, err := range map[string]error{"images": images, "keys": keys} {
		if err == nil || branches < 2 || !strings.Contains(err.Error(), file+": the database is damaged") {
			t.Errorf("%s of a database with %d branches: %v", what, branches, err)
		}
	}
}

// A meta.db that is damaged, cut or of another version is refused with a sentence.
func TestADamagedDatabase(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(data []byte) []byte { return data[:len(data)/3] },
		"empty":   func([]byte) []byte { return nil },
		"garbage": func(data []byte) []byte { return []byte(strings.Repeat("x", len(data))) },
		"pages": func(data []byte) []byte {
			for i := 2 * os.Getpagesize(); i < len(data); i++ {
				data[i] ^= 0x5a
			}
			return data
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := fixture(t)
			file := filepath.Join(root, "meta.db")
			data, err := os.ReadFile(file)
			must(t, err, os.WriteFile(file, damage(data), 0o600))
			source, err := zot.Open(root)
			if err == nil {
				defer source.Close()
				_, err = source.Images(t.Context(), "blumeops/app")
			}
			if err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("the damage was reported as %v", err)
			}
		})
	}
	// A file that is cut while it is open: its pages are not there when they are read.
	root := fixture(t)
	cut, err := zot.Open(root)
	must(t, err, os.Truncate(filepath.Join(root, "meta.db"), 0))
	defer cut.Close()
	_, images := cut.Images(t.Context(), "blumeops/app")
	_, keys := cut.Keys()
	for what, err := range map[string]error{"images": images, "keys": keys} {
		if err == nil || !strings.Contains(err.Error(), filepath.Join(root, "meta.db")+": the database is damaged") {
			t.Errorf("%s of a database that was cut: %v", what, err)
		}
	}
	root = fixture(t)
	must(t, os.Remove(filepath.Join(root, "meta.db")))
	source, err := zot.Open(root)
	must(t, err)
	defer source.Close()
	if images, err := source.Images(t.Context(), "blumeops/app"); err != nil || len(images) == 0 || images[0].By != "" {
		t.Errorf("without a database: %+v, %v", images, err)
	}
}
