package zot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/transfer"
)

const (
	// maxIndex bounds index.json, in bytes: some 100,000 tags.
	maxIndex = 32 << 20
	// maxName is the longest path of a repository, in bytes, that is looked into; a
	// longer one cannot be a repository's name.
	maxName = 255
)

// Directory is the root directory of a zot. It implements transfer.Source.
type Directory struct {
	root *os.Root
	meta *meta // nil: there is no meta.db
}

var _ transfer.Source = (*Directory)(nil)

// Open opens zot's root directory (storage.rootDirectory in its configuration). The caller
// closes it. Errors: those of the directory, and of a meta.db that cannot be read; a
// directory without one has no times and no keys.
func Open(dir string) (*Directory, error) {
	// A fifo in its place would block OpenRoot.
	fi, err := os.Stat(dir)
	if err == nil {
		err = expect(dir, fi, fs.ModeDir)
	}
	if err != nil {
		return nil, fmt.Errorf("open zot's root directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
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
	entries, err := d.entries(dir)
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

// entries lists a directory that was reached without a symbolic link.
func (d *Directory) entries(dir string) ([]fs.DirEntry, error) {
	f, err := d.open(dir, fs.ModeDir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// open opens a regular file for reading, or a directory if kind is fs.ModeDir. Each
// component of the path is looked at before: a symbolic link is not followed, and a fifo or
// a device is never opened, because opening one may block or act. Root keeps the path in the
// tree also while somebody changes it, and then O_NONBLOCK keeps a fifo from blocking.
func (d *Directory) open(name string, kind fs.FileMode) (*os.File, error) {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		want := fs.ModeDir
		if i == len(name) {
			want = kind
		}
		fi, err := d.root.Lstat(name[:i])
		if err != nil {
			return nil, err
		}
		if err := expect(name[:i], fi, want); err != nil {
			return nil, err
		}
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = expect(name, fi, kind)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// expect returns an error unless a file is of a kind: fs.ModeDir, or 0 for a regular file.
func expect(name string, fi fs.FileInfo, kind fs.FileMode) error {
	reason := "not a regular file"
	switch {
	case fi.Mode().Type() == kind:
		return nil
	case fi.Mode()&fs.ModeSymlink != 0:
		reason = "symbolic links are not followed"
	case kind == fs.ModeDir:
		reason = "not a directory"
	}
	return &fs.PathError{Op: "open", Path: name, Err: errors.New(reason)}
}

// whole reads a regular file of at most most bytes.
func (d *Directory) whole(name string, most int64) ([]byte, error) {
	f, err := d.open(name, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s: larger than %d MiB", name, most>>20)
	}
	return data, err
}

// Images reads index.json, and adds what meta.db knows. zot keeps no times for referrers
// and platforms; those of their files stand in for them.
func (d *Directory) Images(_ context.Context, repo string) ([]transfer.Image, error) {
	data, err := d.whole(path.Join(repo, ocispec.ImageIndexFile), maxIndex)
	if err != nil {
		return nil, err
	}
	var index struct {
		Manifests []struct {
			MediaType   string            `json:"mediaType"`
			Digest      digest.Digest     `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s of %s: %w", ocispec.ImageIndexFile, repo, err)
	}
	known, err := d.meta.repository(repo)
	if err != nil {
		return nil, fmt.Errorf("times of %s: %w", repo, err)
	}
	at := map[digest.Digest]int{}
	var images []transfer.Image
	for _, m := range index.Manifests {
		if _, err := core.ParseDigest(string(m.Digest)); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", ocispec.ImageIndexFile, repo, err)
		}
		i, ok := at[m.Digest]
		if !ok {
			i = len(images)
			at[m.Digest] = i
			s := known.statistics[m.Digest]
			if fi, err := d.root.Lstat(blobPath(repo, m.Digest)); err == nil && s.pushed.IsZero() {
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
	data, err := d.whole(blobPath(repo, dg), core.MaxManifestSize)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %s", transfer.ErrAbsent, dg)
	}
	return data, err
}

// Blob implements transfer.Source. The reader is an *os.File.
func (d *Directory) Blob(_ context.Context, repo string, dg digest.Digest) (io.ReadCloser, int64, error) {
	f, err := d.open(blobPath(repo, dg), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: %s", transfer.ErrAbsent, dg)
	} else if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

func blobPath(repo string, d digest.Digest) string {
	return path.Join(repo, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}
