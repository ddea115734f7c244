package download

import (
	"context"
	"io"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Config is what Downloads are made of. It stays the caller's, and is closed after them.
type Config struct {
	Name   string // of the mirror
	Store  Store
	Source Source
	Keeper Keeper
	Log    *slog.Logger
	// Scratch lends room for what is fetched ahead, within Budget, which Downloads of one disk
	// share. nil: nothing is fetched ahead.
	Scratch bucket.Scratch
	Budget  *Budget
}

// Store keeps the blobs: a core.Registry. Its uploads can be read while they grow.
type Store interface {
	Stat(ctx context.Context, repo string, d digest.Digest) (core.Descriptor, error)
	NewUpload(ctx context.Context, repo string, algorithm digest.Algorithm) (core.Upload, error)
	Upload(ctx context.Context, repo, id string) (core.Upload, error)
	Mount(ctx context.Context, repo, from string, d digest.Digest) (core.Descriptor, error)
}

// Keeper decides what is kept. See mirror.Keeper.
type Keeper interface {
	// Room reports whether so many bytes more may be kept now; -1: some.
	Room(size int64) bool
	// Kept records that a blob was kept.
	Kept(repo string, size int64)
}

// Source is the mirror that blobs are downloaded for.
type Source interface {
	// Blob opens a blob of the upstream at offset. See upstream.Client.Blob.
	Blob(ctx context.Context, repo string, d digest.Digest, offset, expected int64) (
		body io.ReadCloser, size int64, err error)
	// Range opens a part of a blob of the upstream. See upstream.Client.Range.
	Range(ctx context.Context, repo string, d digest.Digest, offset, length, size int64) (io.ReadCloser, error)
	// Guess is how many bytes the manifests of repo say that a blob has, which may be wrong.
	// -1: they do not say.
	Guess(repo string, d digest.Digest) int64
	// Note records, ahead of what is kept, that the upstream is asked for blobs of repo. false:
	// that cannot be recorded, and so nothing may be kept.
	Note(ctx context.Context, repo string) bool
	// Record remembers where an unfinished download is, Recall finds it after a restart, and
	// Forget removes the record.
	Record(ctx context.Context, slot Slot, at Unfinished)
	Recall(ctx context.Context, slot Slot) (at Unfinished, ok bool)
	Forget(ctx context.Context, slot Slot)
	// Ended remembers why the download of a blob of repo ended, and returns the error for its
	// readers.
	Ended(repo string, d digest.Digest, err error) error
	// Failed is the error for a reader of a blob whose upstream has failed.
	Failed(err error) error
}

// Unfinished is where the bytes of a download are that a restart, or a broken upstream, has
// interrupted.
type Unfinished struct {
	Repo   string `json:"repo"`
	Upload string `json:"upload"`
}
