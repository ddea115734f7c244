package cache

import (
	"log/slog"

	"github.com/eblume/caddy-registry/core/mirror"
)

// Module is what is kept beside the storage, to be fast: a guest module, oci.cache.*.
type Module interface {
	// Memory bounds the manifests and tags in memory, in bytes. The trees of the
	// storage have half of it each.
	Memory() int64
	// Open returns what mirrors share with those of other processes, or nil. It
	// dials nothing. secret is a key that those have who use the same storage.
	// close is called when the configuration is gone, if it is not nil.
	Open(secret func() ([]byte, error), log *slog.Logger) (shared mirror.Shared, close func() error, err error)
}
