module github.com/eblume/caddy-registry/integration

go 1.26.8

require github.com/eblume/caddy-registry v0.0.0

require (
	github.com/Masterminds/semver/v3 v3.4.0 // indirect
	github.com/akavel/rsrc v0.10.2 // indirect
	github.com/caddyserver/xcaddy v0.4.5 // indirect
	github.com/google/go-containerregistry v0.22.1 // indirect
	github.com/google/shlex v0.0.0-20191202100458-e7afc7fbc510 // indirect
	github.com/hanwen/go-fuse/v2 v2.12.0 // indirect
	github.com/josephspurrier/goversioninfo v1.5.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/eblume/caddy-registry => ../
