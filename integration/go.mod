module github.com/eblume/caddy-registry/integration

go 1.26.8

require github.com/eblume/caddy-registry v0.0.0

require (
	github.com/google/go-containerregistry v0.22.1 // indirect
	github.com/hanwen/go-fuse/v2 v2.12.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/eblume/caddy-registry => ../
