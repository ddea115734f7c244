package layout

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// maxDepth bounds indexes within indexes, and what refers to what refers to an image.
const maxDepth = 8

// Held is a registry from which images are exported.
type Held interface {
	core.Reader
	core.Lister
}

// Export writes the images of a repository to w, as an image layout in a tar archive: those that
// tags and digests name, all tags if there are none, with the platforms of an index and with
// what refers to them. Each object is in it once, and index.json comes last, so an archive that
// was cut off is not a layout. A platform that the repository does not hold is left out.
//
// Errors: those of from, as core.ErrManifestUnknown for a tag, and those of w.
func Export(ctx context.Context, w io.Writer, from Held, repo string, refs ...core.Reference) error {
	e := &export{ctx: ctx, archive: tar.NewWriter(w), from: from, repo: repo, written: map[digest.Digest]bool{}}
	if len(refs) == 0 {
		for tag, err := range from.Tags(ctx, repo, "") {
			if err != nil {
				return err
			}
			refs = append(refs, core.Reference{Tag: tag})
		}
		if len(refs) == 0 {
			return fmt.Errorf("%w: %s has no tags; name a digest", core.ErrManifestUnknown, repo)
		}
	}
	// Before anything is written.
	for _, ref := range refs {
		if _, err := from.Resolve(ctx, repo, ref); err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
	}
	marker, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := e.file(ocispec.ImageLayoutFile, marker); err != nil {
		return err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{}}
	for _, ref := range refs {
		desc, err := e.image(ref, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		if ref.Tag != "" {
			desc.Annotations = map[string]string{ocispec.AnnotationRefName: ref.Tag}
		}
		index.Manifests = append(index.Manifests, desc)
	}
	index.Manifests = append(index.Manifests, e.referrers...)
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := e.file(ocispec.ImageIndexFile, text); err != nil {
		return err
	}
	return e.archive.Close()
}

// export is one run of Export.
type export struct {
	ctx       context.Context
	archive   *tar.Writer
	from      Held
	repo      string
	written   map[digest.Digest]bool
	referrers []core.Descriptor // that no tag names, in the order in which they were found
}

// image writes a manifest and all that belongs to it.
func (e *export) image(ref core.Reference, depth int) (core.Descriptor, error) {
	held, err := e.from.Manifest(e.ctx, e.repo, ref)
	if err != nil {
		return core.Descriptor{}, err
	}
	desc := core.Descriptor{MediaType: held.Descriptor.MediaType, Digest: held.Descriptor.Digest, Size: int64(len(held.Bytes))}
	if e.written[desc.Digest] {
		return desc, nil
	}
	if depth > maxDepth {
		return desc, fmt.Errorf("more than %d manifests within each other", maxDepth)
	}
	doc, err := core.Inspect(held.Bytes)
	if err == nil {
		err = doc.Malformed // it may name more than could be read
	}
	if err != nil {
		return desc, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	for _, blob := range doc.Required() {
		if err := e.blob(blob.Digest); err != nil {
			return desc, err
		}
	}
	for _, child := range doc.Manifests {
		_, err := e.image(core.Reference{Digest: child.Digest}, depth+1)
		if err != nil && !errors.Is(err, core.ErrManifestUnknown) {
			return desc, err
		}
	}
	e.written[desc.Digest] = true
	if err := e.file(BlobPath("", desc.Digest), held.Bytes); err != nil {
		return desc, err
	}
	for referrer, err := range e.from.Referrers(e.ctx, e.repo, desc.Digest, "", "") {
		if err != nil {
			return desc, err
		}
		if e.written[referrer.Digest] {
			continue
		}
		found, err := e.image(core.Reference{Digest: referrer.Digest}, depth+1)
		if err != nil {
			return desc, err
		}
		e.referrers = append(e.referrers, found)
	}
	return desc, nil
}

// blob writes a blob, unless it has been written.
func (e *export) blob(d digest.Digest) error {
	if e.written[d] {
		return nil
	}
	content, err := e.from.Blob(e.ctx, e.repo, d)
	if err != nil {
		return err
	}
	defer content.Close()
	e.written[d] = true
	if err := e.header(BlobPath("", d), content.Descriptor().Size); err != nil {
		return err
	}
	_, err = io.Copy(e.archive, content)
	return err
}

func (e *export) file(name string, content []byte) error {
	if err := e.header(name, int64(len(content))); err != nil {
		return err
	}
	_, err := e.archive.Write(content)
	return err
}

// header begins a file. It has no time, so that the same images give the same archive.
func (e *export) header(name string, size int64) error {
	return e.archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
}

// Unpack writes an archive of Export into a directory, and checks each object's digest. Without
// an error the directory is a layout.
func Unpack(archive io.Reader, into *Empty) error {
	return each(archive, func(header *tar.Header, content io.Reader) error { return into.write(header.Name, content) })
}

// Copy copies an archive of Export, and checks each object's digest. Without an error the copy is
// whole.
func Copy(to io.Writer, archive io.Reader) error {
	copied := tar.NewWriter(to)
	err := each(archive, func(header *tar.Header, content io.Reader) error {
		if err := copied.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: header.Name, Mode: 0o644, Size: header.Size}); err != nil {
			return err
		}
		return checked(header.Name, content, func(content io.Reader) error {
			_, err := io.Copy(copied, content)
			return err
		})
	})
	return errors.Join(err, copied.Close())
}

// each calls use with each file of an archive, the last of which must be index.json.
func each(archive io.Reader, use func(*tar.Header, io.Reader) error) error {
	whole := false
	for files := tar.NewReader(archive); ; {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF) && whole:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case whole:
			return fmt.Errorf("%s comes behind %s", header.Name, ocispec.ImageIndexFile)
		}
		if err := use(header, files); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
		whole = header.Name == ocispec.ImageIndexFile
	}
}

// checked calls use with the content of a file of a layout, and compares what it has read of an
// object with the digest in its name.
func checked(name string, content io.Reader, use func(io.Reader) error) error {
	rest, object := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/")
	if !object {
		if name != ocispec.ImageLayoutFile && name != ocispec.ImageIndexFile {
			return errors.New("not a file of a layout")
		}
		return use(content)
	}
	algorithm, encoded, _ := strings.Cut(rest, "/")
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded)
	if err := d.Validate(); err != nil {
		return err
	}
	verifier := d.Verifier()
	if err := use(io.TeeReader(content, verifier)); err != nil {
		return err
	}
	if !verifier.Verified() {
		return errors.New("the content is damaged: it has another digest")
	}
	return nil
}
