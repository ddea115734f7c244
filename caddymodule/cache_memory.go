package caddymodule

import (
	"fmt"
	"log/slog"
	"math"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/eblume/caddy-registry/core/mirror"
)

func init() {
	caddy.RegisterModule(MemoryCache{})
}

// defaultMemory is what manifests and tags may take of the memory, in bytes.
const defaultMemory = 256 << 20

// MemoryCache keeps the manifests and tags that were read last in memory. It is what
// there is unless the configuration says something else.
type MemoryCache struct {
	// Size bounds it, such as 64MiB. Half is for private images, half for mirrors.
	// Default: 256MiB.
	Size string `json:"size,omitempty"`

	bytes int64
}

// CaddyModule returns the Caddy module information.
func (MemoryCache) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci.cache.memory",
		New: func() caddy.Module { return new(MemoryCache) },
	}
}

// Provision reads the size.
func (c *MemoryCache) Provision(caddy.Context) error {
	c.bytes = defaultMemory
	if c.Size == "" {
		return nil
	}
	size, err := humanize.ParseBytes(c.Size)
	if err != nil || size == 0 || size > math.MaxInt64 {
		return fmt.Errorf("size: %q is not like 256MiB", c.Size)
	}
	c.bytes = int64(size)
	return nil
}

// Memory implements Cache.
func (c *MemoryCache) Memory() int64 { return c.bytes }

// Open implements Cache: nothing is shared.
func (*MemoryCache) Open(func() ([]byte, error), *slog.Logger) (mirror.Shared, func() error, error) {
	return nil, nil, nil
}

// UnmarshalCaddyfile reads the rest of the line. Syntax:
//
//	cache memory [<size>]
func (c *MemoryCache) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		c.Size = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unknown option %q of cache memory", d.Val())
	}
	return nil
}

var (
	_ Cache                 = (*MemoryCache)(nil)
	_ caddy.Provisioner     = (*MemoryCache)(nil)
	_ caddyfile.Unmarshaler = (*MemoryCache)(nil)
)
