package download

import (
	"context"
	"io"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// Config configures Downloads. Its parts belong to the caller, who closes them after the
// Downloads.
type Config struct {
	Name   string // of the mirror
	Store  Store
	Source Source
	Keeper Keeper
	Log    *slog.Logger
	// Scratch provides temporary files for what is fetched ahead, within Budget, which Downloads
	// of one disk share. nil: nothing is fetched ahead.
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
	// Room reports whether size more bytes may be kept now; -1: an unknown number.
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
	// Guess returns the size of a blob according to the manifests of repo, which may be wrong.
	// -1: they do not say.
	Guess(repo string, d digest.Digest) int64
	// Note records, before anything is kept, that the upstream is asked for blobs of repo. It
	// returns false if that cannot be recorded: then nothing may be kept.
	Note(ctx context.Context, repo string) bool
	// Record stores the position of an unfinished download, Recall finds it after a restart, and
	// Forget removes the record.
	Record(ctx context.Context, slot Slot, at Unfinished)
	Recall(ctx context.Context, slot Slot) (at Unfinished, ok bool)
	Forget(ctx context.Context, slot Slot)
	// Ended remembers why the download of a blob of repo ended, and returns the error for its
	// readers.
	Ended(repo string, d digest.Digest, err error) error
	// Failed returns the error for a reader of a blob whose upstream has failed.
	Failed(err error) error
}

// Unfinished is where the bytes of a download are that a restart, or a broken upstream, has
// interrupted.
type Unfinished struct {
	Repo   string `json:"repo"`
	Upload string `json:"upload"`
}
