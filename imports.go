// Package registry plugs an OCI registry into Caddy: the app `oci` and the directive
// `oci_registry`. It holds nothing itself; `xcaddy build --with
// github.com/eblume/caddy-registry` compiles it in. The manual is in docs/, and
// the house behind it in ARCHITECTURE.md.
package registry

import _ "github.com/eblume/caddy-registry/caddymodule" // registers the modules
