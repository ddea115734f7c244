package caddymodule

import (
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/built"
)

// Caddy has the command `version` already and lets nobody register another one. It prints
// what stands here before its own version. A builder who has set it by -ldflags knows better.
func init() {
	if caddy.CustomVersion == "" {
		caddy.CustomVersion = built.From().String() + ", Caddy"
	}
	// The help and the completion of shells are for the program by the name that it has.
	if caddy.CustomBinaryName == "" && len(os.Args) > 0 {
		caddy.CustomBinaryName = filepath.Base(os.Args[0])
	}
}
