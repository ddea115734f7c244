package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/transfer"
)

// maxMarker bounds the file oci-layout, which has one short member.
const maxMarker = 4 << 10

// Layout is one image layout, in a directory or in a tar archive. It is a transfer.Source with
// one repository.
type Layout struct {
	files files
	repo  string
}

var _ transfer.Source = (*Layout)(nil)

// Open opens an image layout, whose images belong to the repository repo: a directory, or a tar
// archive of one (oci-archive), which is not unpacked. The caller closes it. Errors: those of the
// file, and a file that is not a layout of version 1.
func Open(name, repo string) (*Layout, error) {
	from, err := openFiles(name)
	if err != nil {
		return nil, fmt.Errorf("open the image layout: %w", err)
	}
	if err := marked(from); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not an OCI image layout: %w", name, err), from.Close())
	}
	return &Layout{from, repo}, nil
}

func openFiles(name string) (files, error) {
	if fi, err := os.Stat(name); err == nil && fi.Mode().IsRegular() {
		return openArchive(name)
	}
	return OpenRoot(name)
}

// marked checks the file oci-layout.
func marked(from files) error {
	text, err := whole(from, ocispec.ImageLayoutFile, maxMarker)
	if err != nil {
		return err
	}
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(text, &layout); err != nil {
		return fmt.Errorf("%s: %w", ocispec.ImageLayoutFile, err)
	}
	if !strings.HasPrefix(layout.Version, "1.") {
		return fmt.Errorf("its version is %.20q; this program reads 1", layout.Version)
	}
	return nil
}

// Close closes the directory or archive.
func (l *Layout) Close() error { return l.files.Close() }

// Repositories yields the one repository.
func (l *Layout) Repositories(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield(l.repo, nil) }
}

// Images returns what index.json lists. The time of a file stands for that of a push, which
// layouts do not have.
func (l *Layout) Images(context.Context, string) ([]transfer.Image, error) {
	entries, err := index(l.files, ".")
	if err != nil {
		return nil, err
	}
	at := map[digest.Digest]int{}
	var images []transfer.Image
	for _, entry := range entries {
		i, ok := at[entry.Digest]
		if !ok {
			i = len(images)
			at[entry.Digest] = i
			image := transfer.Image{Digest: entry.Digest, MediaType: entry.MediaType}
			if fi, err := l.files.Lstat(BlobPath(".", entry.Digest)); err == nil {
				image.Pushed = fi.ModTime()
			}
			images = append(images, image)
		}
		if name := entry.Annotations[ocispec.AnnotationRefName]; name != "" {
			images[i].Tags = append(images[i].Tags, transfer.Tag{Name: tagOf(name), Since: images[i].Pushed})
		}
	}
	return images, nil
}

// tagOf returns the tag in the annotation org.opencontainers.image.ref.name: programs write a
// tag or a whole reference there. Anything else is returned as it is, and refused later.
func tagOf(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		if _, err := core.ParseTag(name[i+1:]); err == nil {
			return name[i+1:]
		}
	}
	return name
}

// Manifest implements transfer.Source.
func (l *Layout) Manifest(_ context.Context, _ string, d digest.Digest) ([]byte, error) {
	return manifest(l.files, ".", d)
}

// Blob implements transfer.Source.
func (l *Layout) Blob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, int64, error) {
	return blob(l.files, ".", d)
}
