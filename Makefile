# Every target is a Go program or a Go test under integration/; see there.
.PHONY: build run check test test-all conformance bench soak screenshots release

build: # bin/caddy-registry, by xcaddy, from xcaddy.json
	cd integration && go run ./xbuild

run: build # serve with ./Caddyfile
	bin/caddy-registry run --config Caddyfile

check: # what needs no server: formatting, vet, staticcheck, the second platform
	cd integration && go run ./stages check

test: # everything, on a fresh machine too: installs the clients that it drives
	cd integration && go run ./stages test

test-all: # also what is slow to build or to run
	cd integration && go run ./stages test-all

conformance: build # the OCI suite alone, in both versions, over HTTP and HTTPS
	cd integration && go run ./tools && go test -v -count=1 ./conformance

bench: build # side by side with distribution, stock Caddy and nginx; takes some 12 minutes
	cd integration && go run ./tools && go run ./bench

soak: build # ten minutes of mixed load: memory, goroutines and descriptors must be flat
	cd integration && go test -v -count=1 -timeout 20m -run TestSoak ./soak -for 10m

screenshots: build # dist/screenshots: every page of a registry with content, on two screens and in both themes
	cd integration && go run ./tools && go test -count=1 -timeout 10m -run TestScreenshots ./pages -pictures ../../dist/screenshots

release: # dist/: programs, Debian packages, an image, and what they are made of; of the commit
	cd integration && go run ./tools -slow -only cyclonedx-gomod && go run ./release
