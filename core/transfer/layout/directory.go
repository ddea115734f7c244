package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/transfer"
)

// maxMarker bounds the file oci-layout, which has one short member.
const maxMarker = 4 << 10

// Directory is a directory that is one image layout. It is a transfer.Source with one
// repository.
type Directory struct {
	root *Root
	repo string
}

var _ transfer.Source = (*Directory)(nil)

// Open opens an image layout, whose images belong to the repository repo. The caller closes it.
// Errors: those of the directory, and a directory that is not a layout of version 1.
func Open(dir, repo string) (*Directory, error) {
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the image layout: %w", err)
	}
	if err := marked(root); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not an OCI image layout: %w", dir, err), root.Close())
	}
	return &Directory{root, repo}, nil
}

// marked checks the file oci-layout.
func marked(root *Root) error {
	text, err := root.Whole(ocispec.ImageLayoutFile, maxMarker)
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

// Close closes the directory.
func (d *Directory) Close() error { return d.root.Close() }

// Repositories yields the one repository.
func (d *Directory) Repositories(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield(d.repo, nil) }
}

// Images returns what index.json lists. The time of a file stands for that of a push, which
// layouts do not have.
func (d *Directory) Images(context.Context, string) ([]transfer.Image, error) {
	entries, err := d.root.Index(".")
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
			if fi, err := d.root.Lstat(BlobPath(".", entry.Digest)); err == nil {
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
func (d *Directory) Manifest(_ context.Context, _ string, dg digest.Digest) ([]byte, error) {
	return d.root.Manifest(".", dg)
}

// Blob implements transfer.Source.
func (d *Directory) Blob(_ context.Context, _ string, dg digest.Digest) (io.ReadCloser, int64, error) {
	return d.root.Blob(".", dg)
}
