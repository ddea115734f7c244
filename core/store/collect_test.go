package store_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

func collect(t *testing.T, r *registry, how store.CollectOptions) store.Collected {
	t.Helper()
	done, err := r.Collect(context.Background(), how)
	must(t, err)
	return done
}

// nothing reports whether a collection removed nothing, whatever waits.
func nothing(done store.Collected) bool {
	done.Waiting = store.Amount{}
	return done == store.Collected{}
}

func TestCollectLeavesWhatIsNamedAndWhatIsYoung(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Grace: time.Hour}})
	image := r.image(t, "a", []string{"v1"}, "", "layer")
	r.blob(t, "a", "nobody names me")
	if done := collect(t, r, store.CollectOptions{}); !nothing(done) {
		t.Errorf("collected %+v, which is young", done)
	}
	r.wait(2 * time.Hour)
	if done := collect(t, r, store.CollectOptions{DryRun: true}); done.Links != 1 || done.Blobs != 1 || done.Bytes != int64(len("nobody names me")) {
		t.Errorf("a dry run counts %+v, want 1 link, 1 blob", done)
	}
	if !r.reads(t, "a", "nobody names me") {
		t.Error("a dry run removed a blob")
	}
	if done := collect(t, r, store.CollectOptions{}); done.Links != 1 || done.Blobs != 1 || done.Manifests != 0 {
		t.Errorf("collected %+v, want 1 link, 1 blob", done)
	}
	if r.reads(t, "a", "nobody names me") {
		t.Error("a collected blob is readable")
	}
	if !r.has(t, "a", image) || !r.reads(t, "a", "layer") || !r.reads(t, "a", "{}") {
		t.Error("a tagged image is not whole after a collection")
	}
}

func TestSayingYouHaveItRestartsTheGrace(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Grace: time.Hour}})
	r.blob(t, "a", "layer")
	r.wait(2 * time.Hour)
	if _, err := r.Stat(pusher(t.Context()), "a", digest.FromString("layer")); err != nil {
		t.Fatal(err)
	}
	if done := collect(t, r, store.CollectOptions{}); !nothing(done) {
		t.Errorf("collected %+v after a client was told that it is here", done)
	}
	r.wait(2 * time.Hour)
	if done := collect(t, r, store.CollectOptions{}); done.Blobs != 1 {
		t.Errorf("collected %+v after the grace, want 1 blob", done)
	}
}

func TestAfterAStartEverythingIsYoung(t *testing.T) {
	path := t.TempDir()
	r := open(t, path, store.Config{})
	r.blob(t, "a", "layer")
	r.close(t)

	// Opened two hours later: the answers to clients are forgotten.
	r = open(t, path, store.Config{Settings: store.Settings{Grace: time.Nanosecond}})
	r.SetSettings(store.Settings{Grace: time.Hour})
	r.wait(30 * time.Minute)
	if done := collect(t, r, store.CollectOptions{}); !nothing(done) {
		t.Errorf("collected %+v half an hour after the start", done)
	}
	r.wait(31 * time.Minute)
	if done := collect(t, r, store.CollectOptions{}); done.Blobs != 1 {
		t.Errorf("collected %+v an hour after the start, want 1 blob", done)
	}
}

func TestContentStaysWhileAnyRepositoryHoldsIt(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Grace: time.Hour}})
	r.image(t, "a", []string{"v1"}, "", "shared")
	r.blob(t, "b", "shared")
	r.wait(2 * time.Hour)
	if done := collect(t, r, store.CollectOptions{}); done.Links != 1 || done.Blobs != 0 {
		t.Errorf("collected %+v, want one link and no content", done)
	}
	if r.reads(t, "b", "shared") || !r.reads(t, "a", "shared") {
		t.Error("the blob is not readable in exactly the repository whose image names it")
	}
}

// Untagged means: reached by no tag, no kept index, no kept subject.
func TestUntaggedManifests(t *testing.T) {
	for _, c := range []struct {
		name     string
		untagged time.Duration
		removed  int
	}{
		{"kept by default", 0, 0},
		{"gone at their age", 3 * time.Hour, 3},
		{"kept below their age", 30 * time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Grace: time.Hour, Untagged: c.untagged}})
			child := r.image(t, "a", nil, "", "child")
			index := r.index(t, "a", []string{"v1"}, child)
			signature := r.image(t, "a", nil, child, "signature")
			tagged := r.image(t, "a", []string{"v2"}, "", "tagged")
			orphan := r.image(t, "a", nil, "", "orphan")
			orphanIndex := r.index(t, "a", nil, orphan)
			orphanSignature := r.image(t, "a", nil, orphanIndex, "orphan signature")
			r.wait(4 * time.Hour)
			if done := collect(t, r, store.CollectOptions{}); done.Manifests != c.removed {
				t.Errorf("collected %+v, want %d manifests", done, c.removed)
			}
			for _, d := range []digest.Digest{child, index, signature, tagged} {
				if !r.has(t, "a", d) {
					t.Errorf("%s was reached and is gone", d)
				}
			}
			for _, d := range []digest.Digest{orphan, orphanIndex, orphanSignature} {
				if r.has(t, "a", d) != (c.removed == 0) {
					t.Errorf("%s: has %v after %d were to be removed", d, r.has(t, "a", d), c.removed)
				}
			}
			if r.reads(t, "a", "orphan") != (c.removed == 0) {
				t.Error("the layer did not go with its manifest")
			}
		})
	}
}

func TestAbandonedUploads(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{UploadAge: time.Hour}})
	ctx := context.Background()
	u, err := r.NewUpload(ctx, "a", digest.SHA256)
	must(t, err, u.Close())
	if done := collect(t, r, store.CollectOptions{}); done.Uploads != 0 {
		t.Errorf("collected %+v, a young upload", done)
	}
	r.wait(2 * time.Hour)
	if done := collect(t, r, store.CollectOptions{}); done.Uploads != 1 {
		t.Errorf("collected %+v, want 1 upload", done)
	}
	if _, err := r.Upload(ctx, "a", u.ID()); err == nil {
		t.Error("a collected upload is found")
	}
}

// A client may be so slow that none of its bytes reach the file for as long as abandoned
// uploads are kept.
func TestAnUploadThatIsBeingWrittenIsNotAbandoned(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{UploadAge: time.Hour}})
	u, err := r.NewUpload(t.Context(), "a", digest.SHA256)
	must(t, err)
	defer u.Close()
	from, to := io.Pipe()
	appended := make(chan error)
	go func() {
		_, err := u.Append(t.Context(), 0, from)
		appended <- err
	}()
	_, err = to.Write([]byte("slow"))
	must(t, err)
	r.wait(2 * time.Hour)
	if done := collect(t, r, store.CollectOptions{}); done.Uploads != 0 {
		t.Errorf("collected %+v, while it was being written", done)
	}
	must(t, to.Close(), <-appended)
	if u.Offset() != 4 {
		t.Errorf("got %d bytes, want 4", u.Offset())
	}
}

func TestDeletedManifestsFreeTheirBlobs(t *testing.T) {
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Grace: time.Hour}})
	ctx := context.Background()
	d := r.image(t, "a", []string{"v1", "v2"}, "", "layer")
	must(t, r.DeleteManifest(ctx, "a", d))
	if _, err := r.Resolve(ctx, "a", core.Reference{Tag: "v2"}); err == nil {
		t.Error("a tag outlived the manifest that it names")
	}
	r.wait(2 * time.Hour)
	if done := collect(t, r, store.CollectOptions{}); done.Links != 2 || done.Blobs != 3 {
		t.Errorf("collected %+v, want 2 links and 3 blobs", done)
	}
}
