package policies_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/core/store"
	"github.com/eblume/caddy-registry/policies"
)

const creators = 64

// No sequence of calls by create-only callers, over many clients at once, changes what
// an existing tag names.
func TestCreatorsChangeNoTag(t *testing.T) {
	if err := create(t, 1, 6, func(r core.Registry) core.Registry { return r }); err != nil {
		t.Fatal(err)
	}
}

// The test above sees a guard that looks whether a tag is there and then puts, as it
// must: here is one.
func TestALookBeforeThePutIsSeen(t *testing.T) {
	const tries = 50 // the race is nearly always lost in the first
	for seed := range uint64(tries) {
		if create(t, seed, 1, func(r core.Registry) core.Registry { return hasty{r} }) != nil {
			return
		}
	}
	t.Errorf("%d runs did not find the fault of a look before the put", tries)
}

// hasty looks before it puts, instead of leaving to the put what may be created.
type hasty struct{ core.Registry }

func (h hasty) PutManifest(ctx context.Context, repo string, put core.ManifestPut) (core.ManifestResult, error) {
	var free []string
	var refused []error
	for _, tag := range put.Tags {
		held, err := h.Resolve(ctx, repo, core.Reference{Tag: tag})
		if put.CreateOnly && err == nil && held.Digest != digest.FromBytes(put.Bytes) {
			refused = append(refused, fmt.Errorf("%w: %s", core.ErrTagExists, tag))
			continue
		}
		free = append(free, tag)
	}
	if len(put.Tags) > 0 && len(free) == 0 {
		return core.ManifestResult{}, errors.Join(refused...)
	}
	put.CreateOnly, put.Tags = false, free
	result, err := h.Registry.PutManifest(ctx, repo, put)
	result.Refused = append(result.Refused, refused...)
	return result, err
}

// here is where creators push, and base where they mount from.
const here, base = "team/app", "team/base"

// creator is one caller of a registry that is guarded for it.
type creator struct {
	core.Registry
	t       *testing.T
	id      int
	rng     *rand.Rand
	history *coretest.Creators
	begin   time.Time
	serial  int
}

// create runs concurrent creators on a few new tags a round, and checks their answers.
func create(t *testing.T, seed uint64, rounds int, within func(core.Registry) core.Registry) error {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{Verify: store.Verify})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	bucket, err := storage.Bucket("private")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Open(t.Context(), bucket, store.Config{Names: &coretest.MemoryNames{}})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for repo, blobs := range map[string][]string{here: {"{}"}, base: {"{}", "layer"}} {
		for _, blob := range blobs {
			upload(t, kept, repo, blob)
		}
	}
	var rules []policies.Rule
	for _, line := range []string{"anonymous read fetch", "group artifact-workloads read fetch create"} {
		rule, err := policies.ParseRule(false, strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	policy, history := policies.NewRules(rules...), new(coretest.Creators)
	clients := make([]*creator, creators)
	for i := range clients {
		who := policies.Identity{User: fmt.Sprint("ci-", i), Groups: []string{"artifact-workloads"}}
		clients[i] = &creator{
			policies.Guard(within(kept), policy, who), t, i, rand.New(rand.NewPCG(seed, uint64(i))), history, time.Now(), 0,
		}
		clients[i].begin = clients[0].begin
	}
	for round := range rounds {
		var group sync.WaitGroup
		for _, c := range clients {
			group.Go(func() { c.play(t.Context(), []string{fmt.Sprintf("r%d-a", round), fmt.Sprintf("r%d-b", round)}) })
		}
		group.Wait()
	}
	if n := history.Count(); n < rounds*creators {
		t.Fatalf("only %d calls were made", n)
	}
	return history.Check()
}

func upload(t *testing.T, r core.Registry, repo, blob string) {
	t.Helper()
	up, err := r.NewUpload(t.Context(), repo, digest.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if _, err := up.Append(t.Context(), 0, strings.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	if _, err := up.Commit(t.Context(), digest.FromString(blob)); err != nil {
		t.Fatal(err)
	}
}

// play makes a few calls on the tags, in one of the possible ways to set one.
func (c *creator) play(ctx context.Context, tags []string) {
	tag := tags[c.rng.IntN(len(tags))]
	switch c.rng.IntN(7) {
	case 0:
		c.put(ctx, c.image(), tag)
	case 1: // several ?tag=
		c.rng.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
		c.put(ctx, c.image(), tags...)
	case 2: // mount
		if _, err := c.Mount(ctx, here, base, digest.FromString("layer")); err != nil {
			c.t.Errorf("mount: %v", err)
		}
		c.put(ctx, c.image("layer"), tag)
	case 3: // index push
		image := c.image()
		c.put(ctx, image)
		c.put(ctx, marshalled(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []core.Descriptor{
			{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(image), Size: int64(len(image))},
		}}), tag)
	case 4: // delete and push again
		c.delete(ctx, tag)
		c.put(ctx, c.image(), tag)
	case 5: // the same digest again
		if held := c.get(ctx, tag); held != nil {
			c.put(ctx, held, tag)
		}
	}
	c.get(ctx, tag)
}

func marshalled(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return data
}

// image is a manifest that was not pushed before.
func (c *creator) image(layers ...string) []byte {
	c.serial++
	m := ocispec.Manifest{
		MediaType:   ocispec.MediaTypeImageManifest,
		Config:      core.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: digest.FromString("{}"), Size: 2},
		Layers:      []core.Descriptor{},
		Annotations: map[string]string{"creator": fmt.Sprint(c.id, " ", c.serial)},
	}
	for _, layer := range layers {
		m.Layers = append(m.Layers, core.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(layer), Size: int64(len(layer))})
	}
	return marshalled(m)
}

func (c *creator) now() int64 { return int64(time.Since(c.begin)) }

// put pushes a manifest, and takes down what was said of each tag.
func (c *creator) put(ctx context.Context, data []byte, tags ...string) {
	mediaType := ocispec.MediaTypeImageManifest
	if strings.Contains(string(data), ocispec.MediaTypeImageIndex) {
		mediaType = ocispec.MediaTypeImageIndex
	}
	d := digest.FromBytes(data)
	before := c.now()
	result, err := c.PutManifest(ctx, here, core.ManifestPut{MediaType: mediaType, Bytes: data, Digest: d, Tags: slices.Clone(tags)})
	after := c.now()
	if err != nil && !errors.Is(err, core.ErrTagExists) {
		c.t.Errorf("put %s: %v", tags, err)
	}
	refused := append(result.Refused, err)
	for _, tag := range tags {
		answer := coretest.TagAnswer{OK: slices.Contains(result.Tags, tag)}
		for _, err := range refused {
			if detail, ok := core.Detail(err).(map[string]any); ok && detail["tag"] == tag {
				answer.Digest = detail["digest"].(digest.Digest)
			}
		}
		c.history.Add(c.id, coretest.TagCall{Op: "put", Tag: tag, Digest: d}, answer, before, after)
	}
}

// delete tries to remove a tag, and the manifest that it names.
func (c *creator) delete(ctx context.Context, tag string) {
	before := c.now()
	err := c.DeleteTag(ctx, here, tag)
	if desc, lookErr := c.Resolve(ctx, here, core.Reference{Tag: tag}); err != nil && lookErr == nil {
		err = c.DeleteManifest(ctx, here, desc.Digest)
	}
	if err != nil && !errors.Is(err, core.ErrDenied) {
		c.t.Errorf("delete %s: %v", tag, err)
	}
	c.history.Add(c.id, coretest.TagCall{Op: "delete", Tag: tag}, coretest.TagAnswer{OK: err == nil}, before, c.now())
}

// get reads what a tag names, or nil.
func (c *creator) get(ctx context.Context, tag string) []byte {
	before := c.now()
	m, err := c.Manifest(ctx, here, core.Reference{Tag: tag})
	if err != nil && !errors.Is(err, core.ErrManifestUnknown) && !errors.Is(err, core.ErrNameUnknown) {
		c.t.Errorf("get %s: %v", tag, err)
	}
	c.history.Add(c.id, coretest.TagCall{Op: "get", Tag: tag}, coretest.TagAnswer{Digest: m.Descriptor.Digest}, before, c.now())
	return m.Bytes
}
