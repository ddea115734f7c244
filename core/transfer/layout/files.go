package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/transfer"
)

// maxIndex bounds index.json, in bytes: some 100,000 tags.
const maxIndex = 32 << 20

// files are those of one or several layouts. Names are relative and have slashes.
type files interface {
	// Lstat describes a file. Errors: fs.ErrNotExist.
	Lstat(name string) (fs.FileInfo, error)
	// content opens a regular file, and returns its size in bytes. Errors: fs.ErrNotExist.
	content(name string) (io.ReadCloser, int64, error)
	Close() error
}

// whole reads a file of at most most bytes.
func whole(from files, name string, most int64) ([]byte, error) {
	f, _, err := from.content(name)
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

// Entry is a manifest that index.json lists.
type Entry struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	// Annotations may have the tag (ocispec.AnnotationRefName).
	Annotations map[string]string `json:"annotations"`
}

// index reads index.json of the layout in the directory at, in the file's order. The digests
// are well-formed. Errors: those of the file.
func index(from files, at string) ([]Entry, error) {
	file := path.Join(at, ocispec.ImageIndexFile)
	data, err := whole(from, file, maxIndex)
	if err != nil {
		return nil, err
	}
	var list struct {
		Manifests []Entry `json:"manifests"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, m := range list.Manifests {
		if _, err := core.ParseDigest(string(m.Digest)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return list.Manifests, nil
}

// manifest reads a manifest of the layout in the directory at. Errors: transfer.ErrAbsent.
func manifest(from files, at string, d digest.Digest) ([]byte, error) {
	data, err := whole(from, BlobPath(at, d), core.MaxManifestSize)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %s", transfer.ErrAbsent, d)
	}
	return data, err
}

// blob opens a blob of the layout in the directory at, and returns its size in bytes.
// Errors: transfer.ErrAbsent.
func blob(from files, at string, d digest.Digest) (io.ReadCloser, int64, error) {
	content, size, err := from.content(BlobPath(at, d))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %s", transfer.ErrAbsent, d)
	}
	return content, size, err
}

// BlobPath is where the layout in the directory at has a blob or manifest.
func BlobPath(at string, d digest.Digest) string {
	return path.Join(at, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}
