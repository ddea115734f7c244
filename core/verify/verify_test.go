package verify_test

import (
	"bytes"
	"context"
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
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/core/verify"
)

// registry has a tree of private images and one of mirrors, and what verifies both.
type registry struct {
	t       testing.TB
	path    string
	storage *dir.Storage
	trees   map[string]*store.Store
	state   bucket.Bucket
	// wrap stands between the verifier and a tree.
	wrap func(tree string, s verify.Store) verify.Store
	*verify.Verifier
}

const (
	private = "private"
	mirrors = "mirrors"
)

func newRegistry(t testing.TB) *registry {
	r := &registry{t: t, path: t.TempDir()}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *registry) open() {
	r.t.Helper()
	storage, err := dir.Open(r.path, dir.Config{Verify: store.Verify, Sync: func(*os.File) error { return nil }})
	must(r.t, err)
	r.storage, r.trees = storage, map[string]*store.Store{}
	config := verify.Config{}
	for _, name := range []string{private, mirrors} {
		b, err := storage.Bucket(name)
		must(r.t, err)
		s, err := store.Open(context.Background(), b, store.Config{Names: &coretest.MemoryNames{}, Sparse: name == mirrors, Settings: store.Settings{Grace: time.Nanosecond}})
		must(r.t, err)
		r.trees[name] = s
		tree := verify.Tree{Name: name, Store: s, Mirror: name == mirrors}
		if r.wrap != nil {
			tree.Store = r.wrap(name, s)
		}
		config.Trees = append(config.Trees, tree)
		if name == private {
			config.State = b
		}
	}
	r.state = config.State
	r.Verifier = verify.New(context.Background(), config)
	r.SetSettings(verify.Settings{Rate: 1 << 40})
}

func (r *registry) close() {
	if r.storage == nil {
		return
	}
	must(r.t, r.Verifier.Close())
	for _, s := range r.trees {
		must(r.t, s.Close())
	}
	must(r.t, r.storage.Close())
	r.storage = nil
}

func (r *registry) reopen() {
	r.close()
	r.open()
}

func (r *registry) run(o verify.Options) *verify.Report {
	r.t.Helper()
	report, err := r.Run(context.Background(), o)
	must(r.t, err)
	return report
}

// file is where a key of a tree is on the disk.
func (r *registry) file(tree, key string) string {
	return filepath.Join(r.path, tree, "objects", filepath.FromSlash(key))
}

func contentKey(d digest.Digest) string {
	return "blobs/" + string(d.Algorithm()) + "/" + d.Encoded()[:2] + "/" + d.Encoded()
}

func holdKey(d digest.Digest, repo string) string {
	return "manifests" + strings.TrimPrefix(contentKey(d), "blobs") + "+" + strings.ReplaceAll(repo, "/", "+")
}

// image is an image under an index.
type image struct {
	repo, tag              string
	algorithm              digest.Algorithm
	index, manifest, layer digest.Digest
	indexBytes, imageBytes []byte
	configText, layerText  string
	configDigest           digest.Digest
}

func newImage(repo, tag, seed string, algorithm digest.Algorithm) *image {
	i := &image{repo: repo, tag: tag, algorithm: algorithm, configText: `{"seed":"` + seed + `"}`, layerText: strings.Repeat("layer "+seed, 2000)}
	i.configDigest, i.layer = algorithm.FromString(i.configText), algorithm.FromString(i.layerText)
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: i.configDigest, Size: int64(len(i.configText))},
		Layers:    []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: i.layer, Size: int64(len(i.layerText))}},
	}
	m.SchemaVersion = 2
	i.imageBytes, _ = json.Marshal(m)
	i.manifest = algorithm.FromBytes(i.imageBytes)
	x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: i.manifest, Size: int64(len(i.imageBytes))},
	}}
	x.SchemaVersion = 2
	i.indexBytes, _ = json.Marshal(x)
	i.index = algorithm.FromBytes(i.indexBytes)
	return i
}

func pushBlob(s *store.Store, repo string, d digest.Digest, text string) error {
	u, err := s.NewUpload(context.Background(), repo, d.Algorithm())
	if err != nil {
		return err
	}
	defer u.Close()
	if _, err := u.Append(context.Background(), 0, strings.NewReader(text)); err != nil {
		return err
	}
	_, err = u.Commit(context.Background(), d)
	return err
}

// push pushes an image as clients do: what is said to be there is not pushed.
func (i *image) push(s *store.Store) error {
	ctx := core.WithAccess(context.Background(), core.Access{Create: true})
	for d, text := range map[digest.Digest]string{i.configDigest: i.configText, i.layer: i.layerText} {
		if _, err := s.Stat(ctx, i.repo, d); err == nil {
			continue
		}
		if err := pushBlob(s, i.repo, d, text); err != nil {
			return err
		}
	}
	for _, put := range []core.ManifestPut{
		{Digest: i.manifest, MediaType: ocispec.MediaTypeImageManifest, Bytes: i.imageBytes},
		{Digest: i.index, MediaType: ocispec.MediaTypeImageIndex, Bytes: i.indexBytes, Tags: []string{i.tag}},
	} {
		if _, err := s.PutManifest(ctx, i.repo, put); err != nil {
			return err
		}
	}
	return nil
}

// whole reads all of an image.
func (i *image) whole(s *store.Store) error {
	ctx := context.Background()
	for _, ref := range []core.Reference{{Tag: i.tag}, {Digest: i.index}} {
		if m, err := s.Manifest(ctx, i.repo, ref); err != nil || !bytes.Equal(m.Bytes, i.indexBytes) {
			return fmt.Errorf("index %v: %w", ref, cmpErr(err))
		}
	}
	if m, err := s.Manifest(ctx, i.repo, core.Reference{Digest: i.manifest}); err != nil || !bytes.Equal(m.Bytes, i.imageBytes) {
		return fmt.Errorf("manifest: %w", cmpErr(err))
	}
	for d, want := range map[digest.Digest]string{i.configDigest: i.configText, i.layer: i.layerText} {
		b, err := s.Blob(ctx, i.repo, d)
		if err != nil {
			return fmt.Errorf("blob: %w", err)
		}
		got, err := io.ReadAll(b)
		b.Close()
		if err != nil || string(got) != want {
			return fmt.Errorf("blob: %w", cmpErr(err))
		}
	}
	return nil
}

var errWrong = errors.New("other bytes")

func cmpErr(err error) error {
	if err == nil {
		return errWrong
	}
	return err
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// damages are what disks and people do to a file.
var damages = map[string]func(t testing.TB, path string){
	"flip": func(t testing.TB, path string) {
		rewrite(t, path, func(data []byte) []byte { data[0] ^= 1; return data })
	},
	"cut": func(t testing.TB, path string) {
		rewrite(t, path, func(data []byte) []byte { return data[:len(data)/2] })
	},
	"empty":  func(t testing.TB, path string) { rewrite(t, path, func([]byte) []byte { return nil }) },
	"longer": func(t testing.TB, path string) { rewrite(t, path, func(data []byte) []byte { return append(data, 0) }) },
	"remove": func(t testing.TB, path string) { must(t, os.Remove(path)) },
}

// rewrite puts other bytes into the file, which keeps its time, as damage does.
func rewrite(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, change(data), 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

// snapshot is every file of the storage with its time and bytes.
func (r *registry) snapshot() map[string]string {
	files := map[string]string{}
	must(r.t, filepath.WalkDir(r.path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = info.ModTime().String() + string(data)
		return err
	}))
	return files
}

// only is the one finding of a report.
func only(t *testing.T, report *verify.Report) *verify.Finding {
	t.Helper()
	if len(report.Damaged) != 1 || report.Found.Damaged != 1 || report.Found.Trouble != 0 {
		t.Fatalf("got %s, want one finding", marshal(report))
	}
	return report.Damaged[0]
}

func marshal(value any) string {
	data, _ := json.Marshal(value)
	return string(data)
}

func TestDamageIsReportedMovedAndHealed(t *testing.T) {
	for tree, algorithm := range map[string]digest.Algorithm{private: digest.SHA512, mirrors: digest.SHA256} {
		t.Run(tree, func(t *testing.T) {
			r := newRegistry(t)
			other := newImage("team/other", "v1", "other", algorithm)
			must(t, other.push(r.trees[tree]))
			for _, what := range []string{"layer", "manifest", "index"} {
				for name, damage := range damages {
					i := newImage("team/"+what+"/"+name, "v1", what+name, algorithm)
					must(t, i.push(r.trees[tree]))
					d := map[string]digest.Digest{"layer": i.layer, "manifest": i.manifest, "index": i.index}[what]
					t.Run(what+" "+name, func(t *testing.T) { damageAndHeal(t, r, tree, i, what, d, name, damage) })
					if t.Failed() {
						return
					}
					must(t, other.whole(r.trees[tree]))
				}
			}
			r.reopen()
			if _, err := r.trees[tree].Collect(t.Context(), store.CollectOptions{Idle: true}); err != nil {
				t.Error(err)
			}
			if report := r.run(verify.Options{}); report.Found != (verify.Found{}) {
				t.Errorf("after a restart and a collection: %s", marshal(report))
			}
		})
	}
}

func damageAndHeal(t *testing.T, r *registry, tree string, i *image, what string, d digest.Digest, name string, damage func(testing.TB, string)) {
	s := r.trees[tree]
	must(t, i.whole(s)) // memory has the manifests
	damage(t, r.file(tree, contentKey(d)))
	damagedBytes, _ := os.ReadFile(r.file(tree, contentKey(d)))

	before := r.snapshot()
	report := r.run(verify.Options{})
	if !maps.Equal(before, r.snapshot()) {
		t.Error("a run without repair has changed the storage")
	}
	if name == "remove" && tree == mirrors {
		if report.Found.Damaged > 0 { // the next pull fetches it
			t.Errorf("got %s, want nothing", marshal(report))
		}
		must(t, i.push(s))
		return
	}
	checkFinding(t, only(t, report), tree, name, i, what, d, false)

	report = r.run(verify.Options{Repair: true})
	moved := name != "remove"
	checkFinding(t, only(t, report), tree, name, i, what, d, moved)
	quarantined, err := os.ReadFile(r.file(tree, "quarantine/"+string(d)))
	if moved != (err == nil) || !bytes.Equal(quarantined, damagedBytes) {
		t.Errorf("in quarantine: %q, %v, want %q", quarantined, err, damagedBytes)
	}
	if moved { // memory may have what was only removed
		if err := i.whole(s); !errors.Is(err, core.ErrManifestUnknown) && !errors.Is(err, core.ErrBlobUnknown) {
			t.Errorf("after the repair: got %v, want unknown", err)
		}
	}
	must(t, i.push(s), i.whole(s))
	if report := r.run(verify.Options{Repair: true}); report.Found != (verify.Found{}) {
		t.Errorf("after another push: %s", marshal(report))
	}
}

func checkFinding(t *testing.T, f *verify.Finding, tree, damage string, i *image, what string, d digest.Digest, moved bool) {
	t.Helper()
	kind := verify.KindContent
	if damage == "remove" {
		kind = verify.KindMissing
	}
	// Manifests that name it are affected too: a layer affects the manifest, and all
	// affect the index's tag.
	want := &verify.Image{Repository: i.repo, Manifests: []digest.Digest{d}, Tags: []string{i.tag}}
	if what == "layer" {
		want.Manifests[0] = i.manifest
	}
	if what == "manifest" && kind == verify.KindContent { // the index names the wrong bytes
		want.Manifests = append(want.Manifests, i.index)
	}
	if len(f.Images) == 1 {
		slices.Sort(f.Images[0].Manifests)
		slices.Sort(want.Manifests)
	}
	if f.Tree != tree || f.Kind != kind || f.Digest != d || f.Quarantined != moved || f.Problem == "" || marshal(f.Images) != marshal([]*verify.Image{want}) {
		t.Errorf("got %s, want %s of %s in %s, moved %v, which hits %s", marshal(f), kind, d, tree, moved, marshal(want))
	}
}

func TestDamagedRecordsAreNamed(t *testing.T) {
	for _, tree := range []string{private, mirrors} {
		for _, name := range []string{"flip", "cut", "empty"} {
			t.Run(tree+" "+name, func(t *testing.T) {
				r := newRegistry(t)
				i := newImage("team/app", "v1", "a", digest.SHA256)
				must(t, i.push(r.trees[tree]))
				damages[name](t, r.file(tree, "repos/team/app/_tags/v1"))
				report := r.run(verify.Options{Repair: true})
				f := only(t, report)
				if f.Kind != verify.KindRecord || len(f.Images) != 1 || f.Images[0].Repository != "team/app" || !slices.Equal(f.Images[0].Tags, []string{"v1"}) || report.Moved != 0 {
					t.Errorf("got %s", marshal(report))
				}
				must(t, i.push(r.trees[tree]), i.whole(r.trees[tree]))
				if report := r.run(verify.Options{}); report.Found != (verify.Found{}) {
					t.Errorf("after another push: %s", marshal(report))
				}
			})
		}
	}
	t.Run("of a manifest", func(t *testing.T) {
		r := newRegistry(t)
		i := newImage("team/app", "v1", "a", digest.SHA256)
		must(t, i.push(r.trees[private]))
		record := r.file(private, holdKey(i.manifest, i.repo))
		must(t, os.Remove(record), os.WriteFile(record, []byte("{"), 0o600)) // records that are alike are one file
		f := only(t, r.run(verify.Options{}))
		if f.Kind != verify.KindRecord || f.Digest != i.manifest || len(f.Images) != 1 || !slices.Equal(f.Images[0].Manifests, []digest.Digest{i.manifest}) {
			t.Errorf("got %s", marshal(f))
		}
		must(t, i.push(r.trees[private]))
		if report := r.run(verify.Options{}); report.Found != (verify.Found{}) {
			t.Errorf("after another push: %s", marshal(report))
		}
	})
	t.Run("of a referrer", func(t *testing.T) {
		r := newRegistry(t)
		i := newImage("team/app", "v1", "a", digest.SHA256)
		must(t, i.push(r.trees[private]))
		m := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","config":{"mediaType":"a/b","digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
			ocispec.MediaTypeImageManifest, i.configDigest, len(i.configText), ocispec.MediaTypeImageIndex, i.index, len(i.indexBytes)))
		_, err := r.trees[private].PutManifest(t.Context(), i.repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageManifest, Bytes: m})
		must(t, err)
		entries, err := filepath.Glob(r.file(private, "repos/team/app/_referrers/*/*"))
		if err != nil || len(entries) != 1 {
			t.Fatal(entries, err)
		}
		must(t, os.WriteFile(entries[0], []byte("{}"), 0o600))
		f := only(t, r.run(verify.Options{}))
		if f.Kind != verify.KindRecord || len(f.Images) != 1 || !slices.Equal(f.Images[0].Manifests, []digest.Digest{digest.FromBytes(m)}) {
			t.Errorf("got %s", marshal(f))
		}
	})
}

// A backup that copies blobs first and tags last has tags and manifests without what they
// name.
func TestABackupInTheWrongOrder(t *testing.T) {
	for _, row := range []struct {
		name   string
		late   []string // what was copied after the second push
		tagged bool     // the tag names a manifest that is not held
		kind   string
	}{
		{"tags after manifests", []string{"repos"}, true, verify.KindMissing},
		{"manifests and tags after blobs", []string{"manifests", "repos"}, false, verify.KindMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRegistry(t)
			must(t, newImage("team/app", "v1", "a", digest.SHA256).push(r.trees[private]))
			r.close()
			backup := t.TempDir()
			must(t, os.CopyFS(backup, os.DirFS(r.path)))
			r.open()
			i := newImage("team/app", "v2", "b", digest.SHA256)
			must(t, i.push(r.trees[private]))
			r.close()
			for _, part := range row.late {
				part = filepath.Join(private, "objects", part)
				must(t, os.RemoveAll(filepath.Join(backup, part)), os.CopyFS(filepath.Join(backup, part), os.DirFS(filepath.Join(r.path, part))))
			}
			r.path = backup
			r.open()
			report := r.run(verify.Options{})
			missing := map[digest.Digest]bool{}
			for _, f := range report.Damaged {
				if f.Kind != row.kind || len(f.Images) != 1 || f.Images[0].Repository != "team/app" {
					t.Errorf("got %s", marshal(f))
					continue
				}
				missing[f.Digest] = slices.Contains(f.Images[0].Tags, "v2")
				if slices.Contains(f.Images[0].Tags, "v1") {
					t.Errorf("a whole image is hit: %s", marshal(f))
				}
			}
			want := map[digest.Digest]bool{i.index: true}
			if !row.tagged {
				want[i.manifest] = false // the index that would lead there cannot be read
			}
			if !maps.Equal(missing, want) || report.Found.Trouble > 0 {
				t.Errorf("got %s, want %v", marshal(report), want)
			}
		})
	}
}

// An index may be pushed without some of its manifests.
func TestASparseIndexIsNoDamage(t *testing.T) {
	r := newRegistry(t)
	i := newImage("team/app", "v1", "a", digest.SHA256)
	_, err := r.trees[private].PutManifest(t.Context(), i.repo, core.ManifestPut{MediaType: ocispec.MediaTypeImageIndex, Bytes: i.indexBytes, Tags: []string{"v1"}})
	must(t, err)
	report := r.run(verify.Options{})
	want := verify.Absence{Tree: private, Repository: i.repo, Index: i.index, Digest: i.manifest}
	if report.Found != (verify.Found{Absent: 1}) || report.Absent[0] != want {
		t.Errorf("got %s, want %+v", marshal(report), want)
	}
}

func TestOneRepository(t *testing.T) {
	r := newRegistry(t)
	a, b := newImage("team/a", "v1", "a", digest.SHA256), newImage("team/b", "v1", "b", digest.SHA256)
	must(t, a.push(r.trees[private]), b.push(r.trees[private]))
	damages["flip"](t, r.file(private, contentKey(a.layer)))
	if report := r.run(verify.Options{Repository: "team/b", Repair: true}); report.Found != (verify.Found{}) || report.Read[private].Objects != 4 {
		t.Errorf("got %s, want the four objects of team/b, which are whole", marshal(report))
	}
	if f := only(t, r.run(verify.Options{Repository: "team/a"})); f.Digest != a.layer {
		t.Errorf("got %s", marshal(f))
	}
	if _, err := r.Run(t.Context(), verify.Options{Repository: "team/c"}); !errors.Is(err, verify.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
}

// Unreferenced content is read, too.
func TestUnlinkedContent(t *testing.T) {
	r := newRegistry(t)
	d := digest.FromString("loose")
	must(t, pushBlob(r.trees[private], "team/app", d, "loose"))
	must(t, r.trees[private].DeleteBlob(t.Context(), "team/app", d))
	r.reopen() // until then it may be on its way
	damages["cut"](t, r.file(private, contentKey(d)))
	f := only(t, r.run(verify.Options{Repair: true}))
	if f.Digest != d || len(f.Images) != 0 || !f.Quarantined {
		t.Errorf("got %s", marshal(f))
	}
}

func TestTheQuarantineIsEmptiedAfterAMonth(t *testing.T) {
	r := newRegistry(t)
	var all []digest.Digest
	for _, text := range []string{"old", "new"} {
		d := digest.FromString(text)
		must(t, pushBlob(r.trees[private], "team/app", d, text))
		r.reopen() // until then it may be on its way
		damages["flip"](t, r.file(private, contentKey(d)))
		all = append(all, d)
	}
	if report := r.run(verify.Options{Repair: true}); report.Moved != 2 || r.Stats().Quarantine[private] != (verify.Amount{Objects: 2, Bytes: 6}) {
		t.Fatalf("got %s and %+v", marshal(report), r.Stats())
	}
	must(t, r.Expire(t.Context()))
	if got := r.Stats().Quarantine[private].Objects; got != 2 {
		t.Errorf("%d are left, want 2", got)
	}
	old := r.file(private, "quarantine/"+string(all[0]))
	past := time.Now().Add(-verify.Keep - time.Minute)
	must(t, os.Chtimes(old, past, past))
	must(t, r.Expire(t.Context()))
	if got := r.Stats().Quarantine[private]; got != (verify.Amount{Objects: 1, Bytes: 3}) {
		t.Errorf("%+v are left, want one", got)
	}
	if in, err := verify.InQuarantine(t.Context(), r.trees[private]); err != nil || in.Objects != 1 {
		t.Errorf("got %+v, %v", in, err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want it gone", err)
	}
}

func TestWrite(t *testing.T) {
	r := newRegistry(t)
	i := newImage("team/app", "v1", "a", digest.SHA256)
	must(t, i.push(r.trees[private]))
	damages["flip"](t, r.file(private, contentKey(i.layer)))
	var text strings.Builder
	must(t, r.run(verify.Options{Repair: true}).Write(&text))
	for _, want := range []string{
		"damaged: " + string(i.layer) + " in private (14 KiB): its bytes do not have this digest; it was moved to the quarantine\n    team/app: tags v1; manifests " + string(i.manifest) + "\n",
		"private: the quarantine has 1 objects, 14 KiB\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("got\n%swant in it\n%s", &text, want)
		}
	}
	must(t, i.push(r.trees[private]))
	text.Reset()
	must(t, r.run(verify.Options{}).Write(&text))
	if !strings.HasSuffix(text.String(), "no damage was found\n") {
		t.Errorf("got\n%s", &text)
	}
}
