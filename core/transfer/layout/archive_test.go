package layout_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/layout"
)

// entry is one of a tar archive.
type entry struct {
	tar.Header
	text string
}

// entries are regular files.
func entries(files map[string]string) (all []entry) {
	for name, text := range files {
		all = append(all, entry{tar.Header{Name: name}, text})
	}
	return all
}

// pack makes a tar archive, and returns its name.
func pack(t *testing.T, all ...entry) string {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, one := range all {
		one.Mode, one.Size, one.ModTime = 0o600, int64(len(one.text)), time.Now()
		if err := w.WriteHeader(&one.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, one.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return save(t, content.Bytes())
}

func save(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Only regular files count, the last of each name; names may begin with ./ and lead out of the
// archive nowhere.
func TestTheFilesOfAnArchive(t *testing.T) {
	all := entries(map[string]string{"./oci-layout": marker, "index.json": index("v1")})
	all = append(all,
		entry{tar.Header{Name: "blobs/", Typeflag: tar.TypeDir}, ""},
		entry{tar.Header{Name: under(manifest)}, "an earlier file"},
		entry{tar.Header{Name: under(manifest)}, manifest},
		entry{tar.Header{Name: under(blob), Typeflag: tar.TypeSymlink, Linkname: "../../index.json"}, ""},
		entry{tar.Header{Name: under("linked"), Typeflag: tar.TypeLink, Linkname: "index.json"}, ""},
		entry{tar.Header{Name: "../" + under("outside")}, "outside"},
		entry{tar.Header{Name: strings.Repeat("long/", 1000) + "name"}, "long"},
		entry{tar.Header{Name: "manifest.json"}, "[]"}, // as docker save adds
	)
	source, err := layout.Open(pack(t, all...), "team/app")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if got, err := source.Manifest(t.Context(), "team/app", digest.FromString(manifest)); string(got) != manifest || err != nil {
		t.Errorf("got the manifest %q and %v, want the last of the name", got, err)
	}
	for _, text := range []string{blob, "linked", "outside"} {
		if _, _, err := source.Blob(t.Context(), "team/app", digest.FromString(text)); !errors.Is(err, transfer.ErrAbsent) {
			t.Errorf("%s: got %v, want ErrAbsent", text, err)
		}
	}
}

func TestAFileThatIsNoArchive(t *testing.T) {
	whole, err := os.ReadFile(pack(t, entries(map[string]string{"oci-layout": marker, "index.json": index("v1"), under(blob): blob})...))
	if err != nil {
		t.Fatal(err)
	}
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	noise := make([]byte, 10_000) // which stays longer than a header of tar
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(append(slices.Clip(whole), noise...)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var many []entry
	for i := range 50_001 {
		many = append(many, entry{tar.Header{Name: fmt.Sprintf("blobs/sha256/%d", i)}, ""})
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, file, want string }{
		{"empty", save(t, nil), "not an OCI image layout"},
		{"another archive", pack(t, entries(map[string]string{"README": "text"})...), "not an OCI image layout"},
		{"text", save(t, bytes.Repeat([]byte("text"), 1000)), "not a tar archive"},
		{"compressed", save(t, compressed.Bytes()), "uncompress it first"},
		{"cut off", save(t, whole[:len(whole)-2000]), "unexpected EOF"},
		{"too many files", pack(t, many...), "more than 50000 files"},
		{"a fifo", fifo, "not a directory"},
		{"not there", filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		if source, err := layout.Open(row.file, "team/app"); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v and %v, want %q", row.name, source, err, row.want)
		}
	}
}
