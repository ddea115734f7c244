package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// The barriers of a push are what it costs: they are counted, so that one more is a
// decision and not an accident.
func TestAPushNeedsSoManySyncs(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{})
	r.image(t, "team/app", []string{"v1"}, "", "one", "two", "three") // makes the directories that every push shares
	before := r.storage.Stats()
	r.image(t, "team/app", []string{"v2"}, "", "four", "five", "six")
	after := r.storage.Stats()
	// Data: three layers, the manifest, the tag (the config is known, and a manifest
	// that names its media type needs no record), and the empty file of another second.
	if got := after.DataSyncs - before.DataSyncs; got < 5 || got > 6 {
		t.Errorf("%d syncs of data, want 5 or 6", got)
	}
	// Directories: for each of three layers one that has its link too, for the manifest
	// that of its content and that of its record, some of them new in their parents; the
	// tags.
	if got := after.DirSyncs - before.DirSyncs; got < 6 || got > 12 {
		t.Errorf("%d syncs of directories, want 6 to 12", got)
	}
	before = after
	r.image(t, "team/app", []string{"v2"}, "", "four", "five", "six")
	after = r.storage.Stats()
	if after.DataSyncs-before.DataSyncs > 2 || after.DirSyncs-before.DirSyncs > 2 {
		t.Errorf("pushing the same again took %d syncs of data and %d of directories, want at most the attempts to create the record and the tag",
			after.DataSyncs-before.DataSyncs, after.DirSyncs-before.DirSyncs)
	}
}

func TestListsAreTheSameWhileTheIndexIsRebuilt(t *testing.T) {
	path := t.TempDir()
	r := open(t, path, store.Config{Names: indexAt(t, filepath.Join(path, "index", "private.db"), slog.Default())})
	first := r.image(t, "b", []string{"v2", "V1", "v10"}, "", "layer")
	r.image(t, "a/b", []string{"v1"}, first, "other")
	r.image(t, "a-b", nil, "", "third")
	r.image(t, "b", []string{"w"}, "", "stays")
	type lists struct{ repos, tags, none []string }
	list := func() (l lists) {
		for name, err := range r.Repositories(context.Background(), "") {
			must(t, err)
			l.repos = append(l.repos, name)
		}
		for name, err := range r.Tags(context.Background(), "b", "V1") {
			must(t, err)
			l.tags = append(l.tags, name)
		}
		for _, err := range r.Tags(context.Background(), "absent", "") {
			if !errors.Is(err, core.ErrNameUnknown) {
				t.Errorf("tags of an absent repository: %v", err)
			}
			l.none = append(l.none, "error")
		}
		return l
	}
	want := list()
	store.Distrust(r.Store)
	got := list()
	for _, c := range [][2][]string{{got.repos, want.repos}, {got.tags, want.tags}} {
		if strings.Join(c[0], " ") != strings.Join(c[1], " ") {
			t.Errorf("scanned %q, want %q", c[0], c[1])
		}
	}
	// A blob in use is found by scanning too, and a delete finds its tags.
	if err := r.DeleteBlob(context.Background(), "b", digest.FromString("layer")); !errors.Is(err, core.ErrBlobInUse) {
		t.Errorf("deleting a used blob: %v", err)
	}
	must(t, r.DeleteManifest(context.Background(), "b", first))
	if _, err := r.Resolve(context.Background(), "b", core.Reference{Tag: "v10"}); err == nil {
		t.Error("a tag outlived its manifest")
	}
	collect(t, r, store.CollectOptions{})
	if got := list(); strings.Join(got.repos, " ") != "a-b a/b b" || strings.Join(got.tags, " ") != "w" {
		t.Errorf("after the rebuild: repositories %q, tags %q, want a-b a/b b and w", got.repos, got.tags)
	}
}

// A record is not trusted either: it may be another file's content.
func TestDamagedRecordsAreNotServed(t *testing.T) {
	ctx := context.Background()
	for name, content := range map[string]string{
		"nothing":          "",
		"zeros":            strings.Repeat("\x00", 124),
		"a manifest":       `{"schemaVersion":2,"layers":[]}`,
		"half a digest":    `{"digest":"sha256:25f0c9fd"}`,
		"no digest at all": `{"digest":"latest"}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			r := open(t, path, store.Config{})
			subject := r.image(t, "a", []string{"v1"}, "", "layer")
			signature := r.image(t, "a", nil, subject, "signature")
			repo := filepath.Join(path, "private", "objects", "repos", "a")
			referrers, err := filepath.Glob(filepath.Join(repo, "_referrers", "*", "*"))
			must(t, err)
			if len(referrers) != 1 {
				t.Fatalf("got %d entries of referrers, want 1", len(referrers))
			}
			for _, file := range append(referrers, filepath.Join(repo, "_tags", "v1")) {
				must(t, os.WriteFile(file, []byte(content), 0o600))
			}
			_, err = r.Resolve(ctx, "a", core.Reference{Tag: "v1"})
			if !errors.Is(err, core.ErrManifestUnknown) || !errors.Is(err, store.ErrDamaged) {
				t.Errorf("a damaged tag was answered with %v, want that the manifest is unknown and why", err)
			}
			// The content of a damaged entry can be derived from its manifest.
			listed := 0
			for desc, err := range r.Referrers(ctx, "a", subject, "", "") {
				must(t, err)
				listed++
				if desc.Digest != signature || desc.MediaType != ocispec.MediaTypeImageManifest || desc.ArtifactType != "application/octet-stream" {
					t.Errorf("a damaged referrer is listed as %+v", desc)
				}
			}
			if listed != 1 {
				t.Errorf("%d referrers are listed, want 1", listed)
			}
			// Its previous digest is unknown, and is not made up.
			put := core.ManifestPut{MediaType: ocispec.MediaTypeImageIndex, Bytes: []byte(`{"schemaVersion":2,"manifests":[]}`), Tags: []string{"v1"}}
			damaged, err := os.ReadFile(filepath.Join(repo, "_tags", "v1"))
			must(t, err)
			result, err := r.PutManifest(ctx, "a", put)
			must(t, err)
			if len(result.Before) != 1 || result.Before[0] != "" {
				t.Errorf("a push over a damaged tag says that it named %q before, want nothing", result.Before)
			}
			must(t, os.WriteFile(filepath.Join(repo, "_tags", "v1"), damaged, 0o600))
			ctx, deletion := core.WithDeletion(ctx)
			must(t, r.DeleteTag(ctx, "a", "v1"))
			if deletion.Digest != "" {
				t.Errorf("a damaged tag was deleted as one that named %q, want nothing", deletion.Digest)
			}
		})
	}
}

// One damaged tag does not disable the index for others, and what it may name is kept.
func TestADamagedTagIsIndexedAndKeepsItsRepository(t *testing.T) {
	ctx := context.Background()
	path := t.TempDir()
	file := filepath.Join(path, "index", "private.db")
	log := &bytes.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	config := store.Config{Names: indexAt(t, file, logger), Log: logger, Settings: store.Settings{Grace: time.Hour, Untagged: time.Hour}}
	r := open(t, path, config)
	image := r.image(t, "a", []string{"v1"}, "", "layer")
	r.image(t, "a", []string{"v2"}, "", "other")
	r.image(t, "b", []string{"v1"}, "", "layer")
	nobody := r.image(t, "b", nil, "", "nobody's")
	record := filepath.Join(path, "private", "objects", "repos", "a", "_tags", "v1")
	must(t, os.WriteFile(record, []byte(`{"digest":"latest"}`), 0o600))

	store.Distrust(r.Store)
	r.wait(3 * time.Hour)
	done, err := r.Collect(ctx, store.CollectOptions{Idle: true})
	if err != nil || done.Kept != 1 {
		t.Errorf("collected %+v, %v, want one repository that was kept", done, err)
	}
	if !store.Indexed(r.Store) {
		t.Error("the index was not rebuilt")
	}
	if got := log.String(); strings.Count(got, "is damaged and treated as missing") != 1 || !strings.Contains(got, "a/_tags/v1") {
		t.Errorf("logged %q, want one line with the tag's key", got)
	}
	if !r.has(t, "a", image) || !r.reads(t, "a", "layer") {
		t.Error("what a damaged tag may name was collected")
	}
	if r.has(t, "b", nobody) {
		t.Error("another repository was not collected")
	}
	var tags []string
	for tag, err := range r.Tags(ctx, "a", "") {
		must(t, err)
		tags = append(tags, tag)
	}
	if got := strings.Join(tags, " "); got != "v1 v2" {
		t.Errorf("tags %q, want v1 v2", got)
	}
	// A delete of the manifest does not need to know what the tag named.
	must(t, r.DeleteManifest(ctx, "a", image))
	if _, err := r.Resolve(ctx, "a", core.Reference{Tag: "v1"}); !errors.Is(err, core.ErrManifestUnknown) {
		t.Errorf("a damaged tag: %v, want %v", err, core.ErrManifestUnknown)
	}
	must(t, r.DeleteTag(ctx, "a", "v1"))
	done, err = r.Collect(ctx, store.CollectOptions{Idle: true})
	if err != nil || done.Kept != 0 {
		t.Errorf("collected %+v, %v, want no repository that was kept", done, err)
	}
}

func TestAnUploadGoesOnAfterARestart(t *testing.T) {
	path := t.TempDir()
	ctx := context.Background()
	r := open(t, path, store.Config{})
	u, err := r.NewUpload(ctx, "a", digest.SHA512)
	must(t, err)
	_, err = u.Append(ctx, -1, strings.NewReader("first half, "))
	must(t, err, u.Close())
	r.close(t)

	r = open(t, path, store.Config{})
	u, err = r.Upload(ctx, "a", u.ID())
	must(t, err)
	defer u.Close()
	if u.Offset() != int64(len("first half, ")) {
		t.Fatalf("offset %d after the restart", u.Offset())
	}
	_, err = u.Append(ctx, u.Offset(), strings.NewReader("second half"))
	must(t, err)
	d := digest.SHA512.FromString("first half, second half")
	_, err = u.Commit(ctx, d)
	must(t, err)
	if _, err := r.Stat(ctx, "a", d); err != nil {
		t.Error(err)
	}
	if _, err := r.Upload(ctx, "b", u.ID()); !errors.Is(err, core.ErrBlobUploadUnknown) {
		t.Errorf("an upload was found in another repository: %v", err)
	}
}

// brokenReader fails after some bytes, as a client's connection does.
type brokenReader struct{ io int }

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.io++; b.io > 1 {
		return 0, errors.New("connection reset")
	}
	return copy(p, "half"), nil
}

func TestAnUploadThatBrokeCanBeFinished(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{})
	ctx := context.Background()
	u, err := r.NewUpload(ctx, "a", digest.SHA256)
	must(t, err)
	defer u.Close()
	if n, err := u.Append(ctx, 0, &brokenReader{}); n != 4 || err == nil {
		t.Fatalf("kept %d bytes and said %v, want 4 and an error", n, err)
	}
	_, err = u.Append(ctx, 4, strings.NewReader(" done"))
	must(t, err)
	_, err = u.Commit(ctx, digest.FromString("half done"))
	must(t, err)
}

func BenchmarkPushOfAnImage(b *testing.B) {
	r := open(b, b.TempDir(), store.Config{})
	ctx := context.Background()
	n := 0
	for b.Loop() {
		n++
		var layers []core.Descriptor
		for i := range 4 {
			content := bytes.Repeat([]byte{byte(i), byte(n), byte(n >> 8), byte(n >> 16)}, 1024)
			u, err := r.NewUpload(ctx, "bench/app", digest.SHA256)
			if err != nil {
				b.Fatal(err)
			}
			if _, err = u.Append(ctx, 0, bytes.NewReader(content)); err != nil {
				b.Fatal(err)
			}
			desc, err := u.Commit(ctx, digest.FromBytes(content))
			if err != nil {
				b.Fatal(err)
			}
			u.Close()
			layers = append(layers, desc)
		}
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: layers[0], Layers: layers[1:]}
		m.SchemaVersion = 2
		if _, err := r.PutManifest(ctx, "bench/app", core.ManifestPut{MediaType: m.MediaType, Bytes: marshal(b, m), Tags: []string{time.Duration(n).String()}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
