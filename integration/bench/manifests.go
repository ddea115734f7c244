package main

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifests measures GET of a manifest beside Caddy's own answers of the same bytes.
func (b *bench) manifests() error {
	data, err := b.folder("data")
	if err != nil {
		return err
	}
	body := indexManifest("manifests")
	const one, many = "team/one", "team/many"
	err = generate(b.ctx, data, func(put putTags) error {
		if err := put(one, body, tagNames(1)); err != nil {
			return err
		}
		return put(many, body, tagNames(b.size.manyTags))
	})
	if err != nil {
		return err
	}
	product, err := b.registry(data)
	if err != nil {
		return err
	}
	path := func(repo, reference string) string { return "/v2/" + repo + "/manifests/" + reference }
	byDigest := digest.FromBytes(body).String()
	tag := tagNames(b.size.manyTags)[b.size.manyTags/2]

	var contenders []contender
	add := func(name string, s *server, path string) error {
		c, err := b.asked(name, s, path, ocispec.MediaTypeImageIndex, body)
		contenders = append(contenders, c)
		return err
	}
	for _, c := range []struct{ name, path string }{
		{"caddy-registry, by tag, 1 tag", path(one, tagNames(1)[0])},
		{"caddy-registry, by digest, 1 tag", path(one, byDigest)},
		{"caddy-registry, by tag, many tags", path(many, tag)},
		{"caddy-registry, by digest, many tags", path(many, byDigest)},
	} {
		if err := add(c.name, product, c.path); err != nil {
			return err
		}
	}
	header, err := get(product.url()+path(one, byDigest), ocispec.MediaTypeImageIndex, body)
	if err != nil {
		return err
	}
	for _, field := range []string{"Date", "Server", "Via", "Content-Length"} { // Caddy sets these itself
		header.Del(field)
	}
	respond, err := b.respond(header, body)
	if err != nil {
		return err
	}
	base := len(contenders)
	if err := add(respond.name, respond, "/"); err != nil {
		return err
	}
	files, err := b.folder("files")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(files, "manifest"), body, 0o600); err != nil {
		return err
	}
	fileServer, err := b.fileServer(files)
	if err != nil {
		return err
	}
	if err := add(fileServer.name, fileServer, "/manifest"); err != nil {
		return err
	}
	if b.distribution != "" {
		peer, err := b.distributionServer()
		if err != nil {
			return err
		}
		if err := putManifest(b.ctx, peer.url(), one, tagNames(1)[0], ocispec.MediaTypeImageIndex, body); err != nil {
			return err
		}
		for _, c := range []struct{ name, path string }{
			{"distribution, by tag, 1 tag", path(one, tagNames(1)[0])},
			{"distribution, by digest, 1 tag", path(one, byDigest)},
		} {
			if err := add(c.name, peer, c.path); err != nil {
				return err
			}
		}
	}
	return b.compare("GET of a manifest, 16 connections", "requests/s", "CPU per request", base, contenders)
}
