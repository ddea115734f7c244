package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/index"
	"github.com/eblume/caddy-registry/core/store"
)

// tagsAtOnce bounds the tags that one put sets.
const tagsAtOnce = 1000

// putTags stores a manifest in a repository, with tags.
type putTags func(repo string, manifest []byte, tags []string) error

// generate fills a storage that no server has open, as a server would have left it after a
// clean stop. It uses the product's own packages and skips the syncs, because the same kernel
// reads the files.
func generate(ctx context.Context, data string, fill func(putTags) error) (err error) {
	storage, err := dir.Open(data, dir.Config{Verify: store.Verify, Sync: func(*os.File) error { return nil }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, storage.Close()) }()
	bucket, err := storage.Bucket("private")
	if err != nil {
		return err
	}
	names, err := index.ForStore(indexPath(data), slog.Default())
	if err != nil {
		return err
	}
	registry, err := store.Open(ctx, bucket, store.Config{Names: names})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	return fill(func(repo string, manifest []byte, tags []string) error {
		for begin := 0; begin < len(tags); begin += tagsAtOnce {
			_, err := registry.PutManifest(ctx, repo, core.ManifestPut{
				MediaType: ocispec.MediaTypeImageIndex, Bytes: manifest,
				Tags: tags[begin:min(begin+tagsAtOnce, len(tags))],
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func indexPath(data string) string { return filepath.Join(data, "index", "private.db") }

// tagNames returns n tags, sorted.
func tagNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("v1.%06d", i)
	}
	return names
}

// indexManifest is an index for some platforms, as a base image has one. Its manifests
// are nowhere: an index may be sparse. Another seed makes another digest.
func indexManifest(seed string) []byte {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, architecture := range []string{"amd64", "arm", "arm64", "386", "mips64le", "ppc64le", "riscv64", "s390x"} {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest,
			Digest:    digest.FromString(seed + architecture),
			Size:      1234,
			Platform:  &ocispec.Platform{Architecture: architecture, OS: "linux"},
		})
	}
	body, err := json.Marshal(index)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return body
}
