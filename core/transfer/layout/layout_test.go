package layout_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/layout"
)

// write makes the files of a layout, by their paths.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	marker   = `{"imageLayoutVersion": "1.0.0"}`
	manifest = `{"schemaVersion":2}`
	blob     = "a blob"
)

// under is the path of content in a layout.
func under(content string) string { return layout.BlobPath(".", digest.FromString(content)) }

// index lists the manifest under names; empty: without one.
func index(names ...string) string {
	var entries []string
	for _, name := range names {
		entry := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":19,"digest":%q`, digest.FromString(manifest))
		if name != "" {
			entry += fmt.Sprintf(`,"annotations":{"org.opencontainers.image.ref.name":%q}`, name)
		}
		entries = append(entries, entry+"}")
	}
	return `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`
}

func TestALayoutIsARepository(t *testing.T) {
	files := map[string]string{
		"oci-layout": marker, "index.json": index("v1", "", "registry.example.org:5000/team/app:v2", "registry.example.org:5000/team/app", "not a tag"),
		under(manifest): manifest, under(blob): blob,
	}
	for form, name := range map[string]string{"a directory": write(t, files), "an archive": pack(t, entries(files)...)} {
		t.Run(form, func(t *testing.T) { isARepository(t, name) })
	}
}

func isARepository(t *testing.T, name string) {
	source, err := layout.Open(name, "team/app")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for repo, err := range source.Repositories(t.Context()) {
		if repo != "team/app" || err != nil {
			t.Errorf("got the repository %q and %v", repo, err)
		}
	}
	images, err := source.Images(t.Context(), "team/app")
	if err != nil || len(images) != 1 || images[0].Pushed.IsZero() {
		t.Fatalf("got %+v and %v, want one image with a time", images, err)
	}
	var tags []string
	for _, tag := range images[0].Tags {
		tags = append(tags, tag.Name)
	}
	// A name that cannot be a tag is passed on, so that it is listed as left out.
	if got, want := strings.Join(tags, "|"), "v1|v2|registry.example.org:5000/team/app|not a tag"; got != want {
		t.Errorf("got the tags %s, want %s", got, want)
	}
	if got, err := source.Manifest(t.Context(), "team/app", images[0].Digest); string(got) != manifest || err != nil {
		t.Errorf("got the manifest %q and %v", got, err)
	}
	content, size, err := source.Blob(t.Context(), "team/app", digest.FromString(blob))
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if got, err := io.ReadAll(content); string(got) != blob || size != int64(len(blob)) || err != nil {
		t.Errorf("got the blob %q of %d bytes and %v", got, size, err)
	}
	absent := digest.FromString("absent")
	_, manifestErr := source.Manifest(t.Context(), "team/app", absent)
	_, _, blobErr := source.Blob(t.Context(), "team/app", absent)
	for _, err := range []error{manifestErr, blobErr} {
		if !errors.Is(err, transfer.ErrAbsent) {
			t.Errorf("of what is not there: got %v, want ErrAbsent", err)
		}
	}
}

func TestWhatIsNoLayout(t *testing.T) {
	for _, row := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"a directory without the marker", map[string]string{"index.json": index("v1")}, "not an OCI image layout"},
		{"another version", map[string]string{"oci-layout": `{"imageLayoutVersion": "2.0.0"}`}, `its version is "2.0.0"`},
		{"a marker without JSON", map[string]string{"oci-layout": "1.0.0"}, "oci-layout: invalid character"},
		{"an endless marker", map[string]string{"oci-layout": strings.Repeat(" ", 1<<20)}, "oci-layout: larger"},
	} {
		if _, err := layout.Open(write(t, row.files), "team/app"); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
	for name, text := range map[string]string{
		"no JSON": "[]", "a malformed digest": `{"manifests":[{"digest":"sha256:../../etc/passwd"}]}`,
	} {
		source, err := layout.Open(write(t, map[string]string{"oci-layout": marker, "index.json": text}), "team/app")
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		if images, err := source.Images(t.Context(), "team/app"); err == nil {
			t.Errorf("an index with %s: got %+v", name, images)
		}
	}
}

// Links lead out of a layout, so they are not followed.
func TestLinksOfALayoutAreNotFollowed(t *testing.T) {
	dir := write(t, map[string]string{"oci-layout": marker, "index.json": index("v1"), "outside": manifest})
	if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, under(manifest))), 0o700),
		os.Symlink("../../outside", filepath.Join(dir, under(manifest)))); err != nil {
		t.Fatal(err)
	}
	source, err := layout.Open(dir, "team/app")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if got, err := source.Manifest(t.Context(), "team/app", digest.FromString(manifest)); err == nil || !strings.Contains(err.Error(), "symbolic links") {
		t.Errorf("got %q and %v", got, err)
	}
}
