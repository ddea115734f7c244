package core

import (
	"context"
	"iter"

	"github.com/opencontainers/go-digest"
)

// Unimplemented refuses everything with ErrUnsupported. Wrappers embed it, so that
// they fail closed when Registry grows.
type Unimplemented struct{}

var _ Registry = Unimplemented{}

func (Unimplemented) Resolve(context.Context, string, Reference) (Descriptor, error) {
	return Descriptor{}, ErrUnsupported
}

func (Unimplemented) Manifest(context.Context, string, Reference) (Manifest, error) {
	return Manifest{}, ErrUnsupported
}

func (Unimplemented) Stat(context.Context, string, digest.Digest) (Descriptor, error) {
	return Descriptor{}, ErrUnsupported
}

func (Unimplemented) Blob(context.Context, string, digest.Digest) (Blob, error) {
	return nil, ErrUnsupported
}

func (Unimplemented) PutManifest(context.Context, string, ManifestPut) (ManifestResult, error) {
	return ManifestResult{}, ErrUnsupported
}

func (Unimplemented) Mount(context.Context, string, string, digest.Digest) (Descriptor, error) {
	return Descriptor{}, ErrUnsupported
}

func (Unimplemented) NewUpload(context.Context, string, digest.Algorithm) (Upload, error) {
	return nil, ErrUnsupported
}

func (Unimplemented) Upload(context.Context, string, string) (Upload, error) {
	return nil, ErrUnsupported
}

func (Unimplemented) DeleteTag(context.Context, string, string) error { return ErrUnsupported }

func (Unimplemented) DeleteManifest(context.Context, string, digest.Digest) error {
	return ErrUnsupported
}

func (Unimplemented) DeleteBlob(context.Context, string, digest.Digest) error {
	return ErrUnsupported
}

func (Unimplemented) Repositories(context.Context, string) iter.Seq2[string, error] {
	return Fail[string](ErrUnsupported)
}

func (Unimplemented) Tags(context.Context, string, string) iter.Seq2[string, error] {
	return Fail[string](ErrUnsupported)
}

func (Unimplemented) Referrers(context.Context, string, digest.Digest, string, digest.Digest) iter.Seq2[Descriptor, error] {
	return Fail[Descriptor](ErrUnsupported)
}

func (Unimplemented) Holders(context.Context, digest.Digest) iter.Seq2[string, error] {
	return Fail[string](ErrUnsupported)
}

func (Unimplemented) RepositoryRows(context.Context, string, RepositoryOrder, string) iter.Seq2[RepositoryRow, error] {
	return Fail[RepositoryRow](ErrUnsupported)
}

func (Unimplemented) RepositoryRow(context.Context, string) (RepositoryRow, error) {
	return RepositoryRow{}, ErrUnsupported
}

func (Unimplemented) TagRows(context.Context, string, TagOrder, string) iter.Seq2[TagRow, error] {
	return Fail[TagRow](ErrUnsupported)
}

func (Unimplemented) TagRow(context.Context, string, string) (TagRow, error) {
	return TagRow{}, ErrUnsupported
}

func (Unimplemented) ImageRows(context.Context, string, string) iter.Seq2[ImageRow, error] {
	return Fail[ImageRow](ErrUnsupported)
}

func (Unimplemented) ImageRow(context.Context, string, digest.Digest) (ImageRow, error) {
	return ImageRow{}, ErrUnsupported
}

func (Unimplemented) ImageNames(context.Context, string, digest.Digest) ([]NamedRow, error) {
	return nil, ErrUnsupported
}

func (Unimplemented) DigestTags(context.Context, string, digest.Digest, string) iter.Seq2[string, error] {
	return Fail[string](ErrUnsupported)
}

func (Unimplemented) UserRows(context.Context, string, digest.Digest, string) iter.Seq2[ContentRow, error] {
	return Fail[ContentRow](ErrUnsupported)
}

func (Unimplemented) ContentRows(context.Context, string, string) iter.Seq2[ContentRow, error] {
	return Fail[ContentRow](ErrUnsupported)
}

func (Unimplemented) CatalogState(context.Context) (CatalogState, error) {
	return CatalogState{}, ErrUnsupported
}

// Fail returns a sequence that yields only err.
func Fail[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}
