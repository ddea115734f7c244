// Package powercut has the clients of the tests that cut the power. They push to a store in
// their own process, delete and collect, and keep a ledger of what was acknowledged. The
// registry on the disk afterwards is compared with the ledger.
//
//	c := powercut.NewClient(id, seed, nil)
//	c.Registry = store
//	err := c.Step(ctx)                  // until the power fails
//	losses := c.Ledger.Losses(found)    // found is another store, on the disk after the cut
//
// It knows nothing about disks.
package powercut

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

// Image is something that a client pushes. No two images are equal.
type Image struct {
	Put   core.ManifestPut
	Repo  string
	blobs map[digest.Digest][]byte
}

// Digest is the digest of the image's manifest.
func (i *Image) Digest() digest.Digest { return digest.FromBytes(i.Put.Bytes) }

// Client pushes, deletes and collects, one operation after the other, and keeps
// the ledger. It has its tags and images for itself and shares repositories and
// blobs with the others.
type Client struct {
	Registry *store.Store
	Ledger   *Ledger
	Images   []*Image // all that it ever tried to push

	id    int
	rng   *rand.Rand
	blind bool // sends every blob, whatever the registry claims to have
}

// NewClient returns a client that does the same whenever it has the same id and seed
// and gets the same answers. clock is its ledger's.
func NewClient(id int, seed uint64, clock func() int) *Client {
	return &Client{Ledger: NewLedger(clock), id: id, rng: rand.New(rand.NewPCG(seed, uint64(id)))}
}

// Again returns a client without knowledge, for a push of the same images to the registry after
// a cut. Its ledger may be shared.
func (c *Client) Again(seed uint64, l *Ledger) *Client {
	again := NewClient(c.id, seed, nil)
	again.Ledger = l
	return again
}

// Step does one random operation. Its error is the registry's fault.
func (c *Client) Step(ctx context.Context) error {
	switch n := c.rng.IntN(20); {
	case n < 12:
		return c.Push(ctx, c.NewImage())
	case n < 14:
		return c.deleteTag(ctx)
	case n < 16:
		return c.deleteManifest(ctx)
	case n < 18:
		return c.deleteBlob(ctx)
	case n < 19 && len(c.Images) > 0: // a CI job that runs again
		return c.Push(ctx, c.Images[c.rng.IntN(len(c.Images))])
	default:
		_, err := c.Registry.Collect(ctx, store.CollectOptions{})
		return err
	}
}

func (c *Client) tag() string { return fmt.Sprintf("v%d-%d", c.id, c.rng.IntN(3)) }

// NewImage makes an image of some shared blobs and its own config, sometimes with another image
// as its subject.
func (c *Client) NewImage() *Image {
	img := &Image{Repo: repos[c.rng.IntN(len(repos))], blobs: make(map[digest.Digest][]byte)}
	config := fmt.Appendf(nil, `{"client":%d,"image":%d}`, c.id, len(c.Images))
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
	if len(c.Images) > 0 && c.rng.IntN(4) == 0 {
		subject := c.Images[c.rng.IntN(len(c.Images))]
		manifest.Subject = &ocispec.Descriptor{
			MediaType: subject.Put.MediaType, Digest: subject.Digest(), Size: int64(len(subject.Put.Bytes)),
		}
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		panic(err) // of literals and strings
	}
	img.Put = core.ManifestPut{MediaType: manifest.MediaType, Bytes: data, CreateOnly: c.rng.IntN(3) == 0}
	for range c.rng.IntN(3) {
		if tag := c.tag(); !slices.Contains(img.Put.Tags, tag) {
			img.Put.Tags = append(img.Put.Tags, tag)
		}
	}
	c.Images = append(c.Images, img)
	return img
}

// Push sends the blobs that the registry does not claim to have, then the
// manifest. The collector and the other clients' deletes may remove a blob before the manifest
// names it: then a client sends the missing blobs again, a few times.
func (c *Client) Push(ctx context.Context, img *Image) error {
	const tries = 20
	d := img.Digest()
	c.Ledger.try(manifestName(img.Repo, d), d)
	before := make(map[Name][]digest.Digest)
	for _, tag := range img.Put.Tags {
		n := tagName(img.Repo, tag)
		c.Ledger.try(n, c.tagged(n))
		before[n] = c.Ledger.names[n]
		c.Ledger.try(n, d)
	}
	var result core.ManifestResult
	var err error
	for range tries {
		for blob, data := range img.blobs {
			c.Ledger.forget(blobName(img.Repo, blob))
			if err := c.send(ctx, img.Repo, blob, data); err != nil {
				return fmt.Errorf("push blob %s to %s: %w", blob, img.Repo, err)
			}
		}
		result, err = c.Registry.PutManifest(ctx, img.Repo, img.Put)
		if !errors.Is(err, core.ErrManifestBlobUnknown) {
			break
		}
	}
	if err != nil && !errors.Is(err, core.ErrTagExists) {
		return fmt.Errorf("push %s to %s: %w", d, img.Repo, err)
	}
	c.Ledger.acknowledge(manifestName(img.Repo, d), d)
	for n, was := range before {
		if slices.Contains(result.Tags, n.Ref.Tag) {
			c.Ledger.acknowledge(n, d)
		} else {
			c.Ledger.set(n, was) // refused
		}
	}
	return nil
}

// tagged returns one of the possible digests of n.
func (c *Client) tagged(n Name) digest.Digest {
	if len(c.Ledger.names[n]) == 0 {
		return ""
	}
	return c.Ledger.names[n][0]
}

// send makes sure that the registry has a blob: it checks, mounts or uploads, as clients do.
func (c *Client) send(ctx context.Context, repo string, d digest.Digest, data []byte) error {
	if had, err := c.has(ctx, repo, d); had || err != nil {
		return err
	}
	up, err := c.Registry.NewUpload(ctx, repo, digest.SHA256)
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

// has checks for a blob, or tries to mount it, unless the client is blind.
func (c *Client) has(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	if c.blind {
		return false, nil
	}
	// An answer to a caller that may not create does not protect the blob from the collector.
	if _, err := c.Registry.Stat(core.WithAccess(ctx, core.Access{Create: true}), repo, d); err == nil || !isUnknown(err) {
		return err == nil, err
	}
	if c.rng.IntN(2) > 0 {
		return false, nil
	}
	_, err := c.Registry.Mount(ctx, repo, "", d)
	if isUnknown(err) {
		return false, nil
	}
	return err == nil, err
}

// pick returns a name of the kind that is wanted, at random but by the seed.
func (c *Client) pick(want func(Name) bool) (Name, bool) {
	var names []Name
	for n := range c.Ledger.names {
		if want(n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return Name{}, false
	}
	slices.SortFunc(names, func(a, b Name) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
	return names[c.rng.IntN(len(names))], true
}

func (c *Client) deleteTag(ctx context.Context) error {
	n, ok := c.pick(func(n Name) bool { return n.Ref.Tag != "" })
	if !ok {
		return nil
	}
	c.Ledger.try(n, "")
	if err := c.Registry.DeleteTag(ctx, n.Repo, n.Ref.Tag); err != nil && !isUnknown(err) {
		return fmt.Errorf("delete %s: %w", n, err)
	}
	c.Ledger.acknowledge(n, "")
	return nil
}

func (c *Client) deleteManifest(ctx context.Context) error {
	gone, ok := c.pick(func(n Name) bool { return n.Ref.Tag == "" && !n.Blob })
	if !ok {
		return nil
	}
	var tags []Name
	for n := range c.Ledger.names {
		if n.Repo == gone.Repo && n.Ref.Tag != "" && c.Ledger.may(n, gone.Ref.Digest) {
			tags = append(tags, n)
		}
	}
	for _, n := range append(tags, gone) {
		c.Ledger.try(n, "")
	}
	if err := c.Registry.DeleteManifest(ctx, gone.Repo, gone.Ref.Digest); err != nil && !isUnknown(err) {
		return fmt.Errorf("delete %s: %w", gone, err)
	}
	c.Ledger.acknowledge(gone, "")
	for _, n := range tags {
		c.Ledger.set(n, slices.DeleteFunc(slices.Clone(c.Ledger.names[n]), func(d digest.Digest) bool { return d == gone.Ref.Digest }))
	}
	return nil
}

// deleteBlob tries to delete a blob that other clients use, or an image's config, which no
// other client pushes and which must then stay deleted.
func (c *Client) deleteBlob(ctx context.Context) error {
	repo := repos[c.rng.IntN(len(repos))]
	d := sharedDigests[c.rng.IntN(len(sharedDigests))]
	own := len(c.Images) > 0 && c.rng.IntN(2) == 0
	if own {
		img := c.Images[c.rng.IntN(len(c.Images))]
		repo = img.Repo
		for blob := range img.blobs {
			if _, ok := shared[blob]; !ok {
				d = blob
			}
		}
		c.Ledger.try(blobName(repo, d), d)
	}
	err := c.Registry.DeleteBlob(ctx, repo, d)
	switch {
	case errors.Is(err, core.ErrBlobInUse):
		return nil
	case err != nil && !isUnknown(err):
		return fmt.Errorf("delete blob %s of %s: %w", d, repo, err)
	case own:
		c.Ledger.acknowledge(blobName(repo, d), "")
	}
	return nil
}
