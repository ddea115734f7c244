package storage

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/eblume/caddy-registry/core/bucket"
)

// The trees of a storage. Nothing links from one to another: knowing a digest must
// never be enough to read a private blob.
const (
	PrivateTree  = "private"
	MirrorsTree  = "mirrors"
	IdentityTree = "identity"
)

// Module is where a registry keeps its content: a guest module, oci.storage.*. It may also be
// Located, Strict and Risky.
type Module interface {
	// Key names the storage within the process. Configurations whose storages have
	// the same key share one open storage, opened as the first of them says. It is
	// asked after Provision, and does not change.
	Key() string
	// Open opens the storage for this process alone. Errors are sentences for an
	// operator.
	Open(ctx context.Context, log *slog.Logger) (Buckets, error)
}

// Located is a Module whose Buckets have a LocalDir. Commands find the running process by it.
type Located interface {
	// Local is LocalDir.Local, known before the storage is open.
	Local() string
}

// Strict is a Module whose settings another one of the same key may contradict.
type Strict interface {
	// Agrees returns why the open storage of the same key cannot serve as this one, or nil.
	Agrees(open Module) error
}

// Risky is a Module that may lose what it has acknowledged.
type Risky interface {
	// Risks returns a sentence for each risk. `registry doctor` prints them.
	Risks() []string
}

// Buckets is a storage in use. What more it can do are interfaces of their own, because
// one that is not on a local disk cannot do it: LocalDir, DiskSpace
// and Syncs.
type Buckets interface {
	// Bucket opens one of the storage's trees, which close with it.
	Bucket(tree string) (bucket.Bucket, error)
	// Close ends the storage, after everything in it.
	Close() error
}

// LocalDir is implemented by Buckets with a directory of their own on a local disk, for what may be
// lost. Without it, commands cannot reach the running process, and indexes are built anew
// at each start.
type LocalDir interface {
	// Local is the directory.
	Local() string
	// Index is the file for the index of a tree. It is lost with its tree.
	Index(tree string) string
}

// DiskSpace is implemented by Buckets whose trees fill local disks. Without it nothing bounds what is
// kept but the limits in bytes.
type DiskSpace interface {
	// Disk is a directory on the disk that a tree fills.
	Disk(tree string) string
}

// Syncs is implemented by Buckets that count their barriers.
type Syncs interface {
	// Syncs counts the files and the directories that were made durable since Open,
	// and how often many of these were one sync (a group).
	Syncs() (files, directories, groups uint64)
}

// LocalOf returns the directory of a storage on a local disk, or empty.
func LocalOf(open Buckets) string {
	if local, ok := open.(LocalDir); ok {
		return local.Local()
	}
	return ""
}

// IndexOf returns the file for the index of a tree, or empty.
func IndexOf(open Buckets, tree string) string {
	if local, ok := open.(LocalDir); ok {
		return local.Index(tree)
	}
	return ""
}

// historyDir is the directory of HistoryOf.
const historyDir = "history"

// HistoryOf returns the directory for what happened, which cannot be rebuilt, or empty.
func HistoryOf(open Buckets) string {
	if local := LocalOf(open); local != "" {
		return filepath.Join(local, historyDir)
	}
	return ""
}

// DiskOf returns a directory on the disk that a tree fills, or empty.
func DiskOf(open Buckets, tree string) string {
	if disk, ok := open.(DiskSpace); ok {
		return disk.Disk(tree)
	}
	return ""
}
