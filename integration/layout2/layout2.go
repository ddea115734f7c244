// Package layout2 writes storages as releases before layout 3 left them on the disk,
// among them content that is refused today and was taken then. A server that starts
// over one must serve it safely and collect it within its memory.
//
//	old := layout2.New(t, data, layout2.Private)
//	old.Manifest("team/app", "v1", "text/html", content)
//	s := server.Start(t, server.Options{Data: data})
//
// Repository names must be short enough to share a file name with a digest, and names
// and tags must be lower case: the general encoding is the server's own.
package layout2

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Private and Mirrors are the directories of the two trees below a storage: content
// that was pushed, and content of mirrors.
const (
	Private = "private"
	Mirrors = "mirrors/content"
)

// Tree writes one tree of a storage that no server has open.
type Tree struct {
	t       testing.TB
	objects string
	// created is the time in all records: long ago, so that no grace period applies.
	created time.Time
}

// New begins a tree below the storage directory data.
func New(t testing.TB, data, tree string) *Tree {
	t.Helper()
	w := &Tree{t: t, objects: filepath.Join(data, tree, "objects"), created: time.Now().Add(-48 * time.Hour)}
	w.write(filepath.Join(data, "layout.json"), []byte(`{"version":2}`+"\n"))
	if tree == Mirrors {
		w.write(filepath.Join(data, "mirrors", "layout.json"), []byte(`{"version":2}`+"\n"))
		w.write(filepath.Join(data, "mirrors", "CACHEDIR.TAG"), []byte("Signature: 8a477f597d28d172789f06886806bc55\n"))
	}
	return w
}

// Blob stores content that repo holds.
func (w *Tree) Blob(repo string, content []byte) digest.Digest {
	w.t.Helper()
	d := digest.FromBytes(content)
	w.object("blobs/"+path(d), content)
	w.object("blobs/"+path(d)+"+"+flat(repo), nil)
	return d
}

// Manifest stores a manifest with the media type that its push declared, and a tag
// unless it is "".
func (w *Tree) Manifest(repo, tag, mediaType string, content []byte) digest.Digest {
	w.t.Helper()
	d := digest.FromBytes(content)
	w.object("blobs/"+path(d), content)
	var named struct {
		MediaType string `json:"mediaType"`
	}
	_ = json.Unmarshal(content, &named) // content that is not JSON names no type
	var record []byte
	if named.MediaType != mediaType {
		record = w.json(map[string]string{"media_type": mediaType})
	}
	w.object("manifests/"+path(d)+"+"+flat(repo), record)
	if tag != "" {
		w.object("repos/"+repo+"/_tags/"+tag, w.json(map[string]any{"digest": d, "time": w.created}))
	}
	return d
}

// Referrer stores the entry of a manifest that refers to subject. The manifest itself
// is stored by Manifest.
func (w *Tree) Referrer(repo string, subject digest.Digest, entry ocispec.Descriptor) {
	w.t.Helper()
	w.object("repos/"+repo+"/_referrers/"+subject.String()+"/"+entry.Digest.String(), w.json(entry))
}

func (w *Tree) object(key string, content []byte) {
	w.t.Helper()
	name := filepath.Join(w.objects, filepath.FromSlash(key))
	w.write(name, content)
	if err := os.Chtimes(name, w.created, w.created); err != nil {
		w.t.Fatal(err)
	}
}

func (w *Tree) write(name string, content []byte) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *Tree) json(record any) []byte {
	w.t.Helper()
	data, err := json.Marshal(record)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

func path(d digest.Digest) string {
	return d.Algorithm().String() + "/" + d.Encoded()[:2] + "/" + d.Encoded()
}

func flat(repo string) string { return strings.ReplaceAll(repo, "/", "+") }
