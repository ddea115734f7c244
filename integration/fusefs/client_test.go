package fusefs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// repos are pushed to by every client. One name is the beginning of another.
var repos = []string{"team/app", "team/app/cache", "tools"}

// shared are blobs that every client pushes: an empty one, small ones, and one of
// many sectors.
var shared = func() map[digest.Digest][]byte {
	blobs := make(map[digest.Digest][]byte)
	for i, size := range []int{0, 1, 300, 700, 1500, 20000} {
		data := bytes.Repeat([]byte{byte('a' + i)}, size)
		blobs[digest.FromBytes(data)] = data
	}
	return blobs
}()

var sharedDigests = func() []digest.Digest {
	var ds []digest.Digest
	for d := range shared {
		ds = append(ds, d)
	}
	slices.Sort(ds) // so that a seed repeats
	return ds
}()

// image is something that a client pushes. No two images are equal.
type image struct {
	put   core.ManifestPut
	repo  string
	blobs map[digest.Digest][]byte
}

func (i *image) digest() digest.Digest { return digest.FromBytes(i.put.Bytes) }

// client pushes, deletes and collects, one operation after the other, and keeps
// the ledger. It has its tags and images for itself and shares repositories and
// blobs with the others.
type client struct {
	id     int
	rng    *rand.Rand
	reg    *store.Store
	ledger ledger
	images []*image // all that it ever tried to push
	acks   int      // operations that were acknowledged
}

func newClient(id int, seed uint64) *client {
	return &client{id: id, rng: rand.New(rand.NewPCG(seed, uint64(id))), ledger: make(ledger)}
}

// step does one random operation. Its error is the registry's fault.
func (c *client) step(ctx context.Context) error {
	switch n := c.rng.IntN(20); {
	case n < 12:
		return c.push(ctx, c.newImage())
	case n < 14:
		return c.deleteTag(ctx)
	case n < 16:
		return c.deleteManifest(ctx)
	case n < 18:
		return c.deleteBlob(ctx)
	case n < 19 && len(c.images) > 0: // a CI job that runs again
		return c.push(ctx, c.images[c.rng.IntN(len(c.images))])
	default:
		_, err := c.reg.Collect(ctx, store.CollectOptions{})
		return err
	}
}

func (c *client) tag() string { return fmt.Sprintf("v%d-%d", c.id, c.rng.IntN(3)) }

// newImage makes an image of some shared blobs and a config of its own, sometimes
// with another image as its subject.
func (c *client) newImage() *image {
	img := &image{repo: repos[c.rng.IntN(len(repos))], blobs: make(map[digest.Digest][]byte)}
	config := fmt.Appendf(nil, `{"client":%d,"image":%d}`, c.id, len(c.images))
	describe := func(mediaType string, data []byte) ocispec.Descriptor {
		d := digest.FromBytes(data)
		img.blobs[d] = data
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    describe(ocispec.MediaTypeImageConfig, config),
	}
	for range 1 + c.rng.IntN(2) {
		data := shared[sharedDigests[c.rng.IntN(len(sharedDigests))]]
		manifest.Layers = append(manifest.Layers, describe(ocispec.MediaTypeImageLayer, data))
	}
	if len(c.images) > 0 && c.rng.IntN(4) == 0 {
		subject := c.images[c.rng.IntN(len(c.images))]
		manifest.Subject = &ocispec.Descriptor{
			MediaType: subject.put.MediaType, Digest: subject.digest(), Size: int64(len(subject.put.Bytes)),
		}
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		panic(err) // of literals and strings
	}
	img.put = core.ManifestPut{MediaType: manifest.MediaType, Bytes: data, CreateOnly: c.rng.IntN(3) == 0}
	for range c.rng.IntN(3) {
		if tag := c.tag(); !slices.Contains(img.put.Tags, tag) {
			img.put.Tags = append(img.put.Tags, tag)
		}
	}
	c.images = append(c.images, img)
	return img
}

// push sends the blobs that the registry does not claim to have, then the
// manifest. The collector and the other clients' deletes may take a blob before
// it is named: then a client sends again what is missing, a few times.
func (c *client) push(ctx context.Context, img *image) error {
	const tries = 20
	d := img.digest()
	c.ledger.try(manifestName(img.repo, d), d)
	before := make(map[name][]digest.Digest)
	for _, tag := range img.put.Tags {
		n := tagName(img.repo, tag)
		c.ledger.try(n, c.tagged(n))
		before[n] = slices.Clone(c.ledger[n])
		c.ledger.try(n, d)
	}
	var result core.ManifestResult
	var err error
	for range tries {
		for blob, data := range img.blobs {
			delete(c.ledger, blobName(img.repo, blob))
			if err := c.send(ctx, img.repo, blob, data); err != nil {
				return fmt.Errorf("push blob %s to %s: %w", blob, img.repo, err)
			}
		}
		result, err = c.reg.PutManifest(ctx, img.repo, img.put)
		if !errors.Is(err, core.ErrManifestBlobUnknown) {
			break
		}
	}
	if err != nil && !errors.Is(err, core.ErrTagExists) {
		return fmt.Errorf("push %s to %s: %w", d, img.repo, err)
	}
	c.ledger.acknowledge(manifestName(img.repo, d), d)
	for n, was := range before {
		if slices.Contains(result.Tags, n.ref.Tag) {
			c.ledger.acknowledge(n, d)
		} else {
			c.ledger[n] = was // refused
		}
	}
	c.acks++
	return nil
}

// tagged is one of the digests that n may stand for.
func (c *client) tagged(n name) digest.Digest {
	if len(c.ledger[n]) == 0 {
		return ""
	}
	return c.ledger[n][0]
}

// send makes the registry have a blob: it asks, mounts or uploads, as clients do.
func (c *client) send(ctx context.Context, repo string, d digest.Digest, data []byte) error {
	if _, err := c.reg.Stat(ctx, repo, d); err == nil || !isUnknown(err) {
		return err
	}
	if c.rng.IntN(2) == 0 {
		if _, err := c.reg.Mount(ctx, repo, "", d); err == nil || !isUnknown(err) {
			return err
		}
	}
	up, err := c.reg.NewUpload(ctx, repo, digest.SHA256)
	if err != nil {
		return err
	}
	defer up.Close()
	for part := range slices.Chunk(data, 8192) {
		if _, err := up.Append(ctx, -1, bytes.NewReader(part)); err != nil {
			return err
		}
	}
	_, err = up.Commit(ctx, d)
	return err
}

// pick returns a name of the kind that is wanted, at random but by the seed.
func (c *client) pick(want func(name) bool) (name, bool) {
	var names []name
	for n := range c.ledger {
		if want(n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return name{}, false
	}
	slices.SortFunc(names, func(a, b name) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
	return names[c.rng.IntN(len(names))], true
}

func (c *client) deleteTag(ctx context.Context) error {
	n, ok := c.pick(func(n name) bool { return n.ref.Tag != "" })
	if !ok {
		return nil
	}
	c.ledger.try(n, "")
	if err := c.reg.DeleteTag(ctx, n.repo, n.ref.Tag); err != nil && !isUnknown(err) {
		return fmt.Errorf("delete %s: %w", n, err)
	}
	c.ledger.acknowledge(n, "")
	c.acks++
	return nil
}

func (c *client) deleteManifest(ctx context.Context) error {
	gone, ok := c.pick(func(n name) bool { return n.ref.Tag == "" && !n.blob })
	if !ok {
		return nil
	}
	var tags []name
	for n := range c.ledger {
		if n.repo == gone.repo && n.ref.Tag != "" && c.ledger.may(n, gone.ref.Digest) {
			tags = append(tags, n)
		}
	}
	for _, n := range append(tags, gone) {
		c.ledger.try(n, "")
	}
	if err := c.reg.DeleteManifest(ctx, gone.repo, gone.ref.Digest); err != nil && !isUnknown(err) {
		return fmt.Errorf("delete %s: %w", gone, err)
	}
	c.ledger.acknowledge(gone, "")
	for _, n := range tags {
		c.ledger[n] = slices.DeleteFunc(c.ledger[n], func(d digest.Digest) bool { return d == gone.ref.Digest })
	}
	c.acks++
	return nil
}

// deleteBlob tries to delete a blob from under the others, or an image's config,
// which nobody else pushes and which must then stay away.
func (c *client) deleteBlob(ctx context.Context) error {
	repo := repos[c.rng.IntN(len(repos))]
	d := sharedDigests[c.rng.IntN(len(sharedDigests))]
	own := len(c.images) > 0 && c.rng.IntN(2) == 0
	if own {
		img := c.images[c.rng.IntN(len(c.images))]
		repo = img.repo
		for blob := range img.blobs {
			if _, ok := shared[blob]; !ok {
				d = blob
			}
		}
		c.ledger.try(blobName(repo, d), d)
	}
	err := c.reg.DeleteBlob(ctx, repo, d)
	switch {
	case errors.Is(err, core.ErrBlobInUse):
		return nil
	case err != nil && !isUnknown(err):
		return fmt.Errorf("delete blob %s of %s: %w", d, repo, err)
	case own:
		c.ledger.acknowledge(blobName(repo, d), "")
	}
	c.acks++
	return nil
}
