package zot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/transfer"
	"github.com/eblume/caddy-registry/core/transfer/layout"
)

// maxName is the longest path of a repository, in bytes, that is looked into; a longer one
// cannot be a repository's name.
const maxName = 255

// Directory is the root directory of a zot. It implements transfer.Source.
type Directory struct {
	root *layout.Root
	meta *meta // nil: there is no meta.db
}

var _ transfer.Source = (*Directory)(nil)

// Open opens zot's root directory (storage.rootDirectory in its configuration). The caller
// closes it. Errors: those of the directory, and of a meta.db that cannot be read; a
// directory without one has no times and no keys.
func Open(dir string) (*Directory, error) {
	root, err := layout.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open zot's root directory: %w", err)
	}
	d := &Directory{root: root}
	if d.meta, err = openMeta(d, path.Join(dir, metaFile)); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

// Close releases what Open has opened.
func (d *Directory) Close() error { return errors.Join(d.meta.close(), d.root.Close()) }

// Repositories yields the directories that hold an OCI layout, in byte order of their
// path components. A directory that cannot be read is yielded with its error.
func (d *Directory) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { d.walk(ctx, ".", yield) }
}

func (d *Directory) walk(ctx context.Context, dir string, yield func(string, error) bool) (more bool) {
	if ctx.Err() != nil {
		return yield("", context.Cause(ctx))
	}
	entries, err := d.root.Entries(dir)
	if err != nil {
		if dir == "." {
			return yield("", err)
		}
		return yield(dir, err)
	}
	if dir != "." && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == ocispec.ImageIndexFile }) {
		if !yield(dir, nil) {
			return false
		}
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		switch {
		case !entry.IsDir(), skipped(dir, entry.Name()):
			continue
		case len(name) > maxName:
			if !yield(name[:maxName], errors.New("the path is too long for the name of a repository")) {
				return false
			}
			continue
		}
		if !d.walk(ctx, name, yield) {
			return false
		}
	}
	return true
}

// skipped reports whether a directory is zot's own: .sync, .uploads and _sessions, and the
// blobs of a repository.
func skipped(parent, name string) bool {
	return strings.HasPrefix(name, ".") || name == ocispec.ImageBlobsDir || parent == "." && strings.HasPrefix(name, "_")
}

// Images reads index.json, and adds what meta.db knows. zot keeps no times for referrers
// and platforms; those of their files stand in for them.
func (d *Directory) Images(_ context.Context, repo string) ([]transfer.Image, error) {
	entries, err := d.root.Index(repo)
	if err != nil {
		return nil, err
	}
	known, err := d.meta.repository(repo)
	if err != nil {
		return nil, fmt.Errorf("times of %s: %w", repo, err)
	}
	at := map[digest.Digest]int{}
	var images []transfer.Image
	for _, m := range entries {
		i, ok := at[m.Digest]
		if !ok {
			i = len(images)
			at[m.Digest] = i
			s := known.statistics[m.Digest]
			if fi, err := d.root.Lstat(layout.BlobPath(repo, m.Digest)); err == nil && s.pushed.IsZero() {
				s.pushed = fi.ModTime()
			}
			images = append(images, transfer.Image{
				Digest: m.Digest, MediaType: m.MediaType, Pushed: s.pushed, By: s.by, Pulled: s.pulled,
			})
		}
		if tag := m.Annotations[ocispec.AnnotationRefName]; tag != "" {
			since, ok := known.tagged[tag]
			if !ok {
				since = images[i].Pushed
			}
			images[i].Tags = append(images[i].Tags, transfer.Tag{Name: tag, Since: since})
		}
	}
	return images, nil
}

// Manifest implements transfer.Source.
func (d *Directory) Manifest(_ context.Context, repo string, dg digest.Digest) ([]byte, error) {
	return d.root.Manifest(repo, dg)
}

// Blob implements transfer.Source.
func (d *Directory) Blob(_ context.Context, repo string, dg digest.Digest) (io.ReadCloser, int64, error) {
	return d.root.Blob(repo, dg)
}
