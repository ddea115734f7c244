package cache

import (
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core/mirror"
)

func init() {
	caddy.RegisterModule(Memory{})
}

// defaultMemory is what manifests and tags may take of the memory, in bytes.
const defaultMemory = 256 << 20

// Memory keeps the manifests and tags that were read last in memory. It is what
// there is unless the configuration says something else.
type Memory struct {
	// Size bounds it, such as 64MiB. Half is for private images, half for mirrors.
	// Default: 256MiB.
	Size string `json:"size,omitempty"`

	bytes int64
}

// CaddyModule returns the Caddy module information.
func (Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci.cache.memory",
		New: func() caddy.Module { return new(Memory) },
	}
}

// Provision reads the size.
func (c *Memory) Provision(caddy.Context) (err error) {
	c.bytes, err = memorySize(c.Size)
	return err
}

// memorySize reads the option size of a cache, or its default.
func memorySize(text string) (int64, error) {
	if text == "" {
		return defaultMemory, nil
	}
	size, err := option.ParseSize(text)
	if err != nil {
		return 0, fmt.Errorf("size: %w", err)
	}
	return size, nil
}

// Memory implements Module.
func (c *Memory) Memory() int64 { return c.bytes }

// Open implements Module: nothing is shared.
func (*Memory) Open(func() ([]byte, error), *slog.Logger) (mirror.Shared, func() error, error) {
	return nil, nil, nil
}

// UnmarshalCaddyfile reads the rest of the line. Syntax:
//
//	cache memory [<size>]
func (c *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		c.Size = d.Val()
	}
	if _, err := memorySize(c.Size); err != nil {
		return d.WrapErr(err)
	}
	return option.Block(d, "cache memory", nil)
}

var (
	_ Module                = (*Memory)(nil)
	_ caddy.Provisioner     = (*Memory)(nil)
	_ caddyfile.Unmarshaler = (*Memory)(nil)
)
