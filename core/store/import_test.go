package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/store"
)

// A manifest that was pushed elsewhere keeps its times and its pusher. The collector counts
// from the import: no rule about untagged manifests takes it at once.
func TestAnImportKeepsTheTimesOfThePush(t *testing.T) {
	ctx := core.WithAccess(context.Background(), core.Access{Caller: "zot-ci"})
	r := open(t, t.TempDir(), store.Config{Settings: store.Settings{Untagged: 30 * day}})
	source := r.image(t, "team/source", nil, "", "layer")
	m, err := r.Manifest(ctx, "team/source", core.Reference{Digest: source})
	must(t, err)
	for _, blob := range []string{"{}", "layer"} {
		_, err := r.Mount(ctx, "team/app", "team/source", digest.FromString(blob))
		must(t, err)
	}
	pushed := time.Now().Add(-400 * day).UTC().Truncate(time.Second)
	put := core.ManifestPut{
		MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, CreateOnly: true,
		Import: &core.Import{Pushed: pushed},
	}
	_, err = r.PutManifest(ctx, "team/app", put)
	must(t, err)
	r.wait(29 * day)
	_, err = r.Collect(ctx, store.CollectOptions{})
	must(t, err)
	if !r.has(t, "team/app", source) {
		t.Fatal("an imported manifest without a tag went before its time")
	}
	put.Tags = []string{"v1", "v2", "later"}
	put.Import.Tagged = []time.Time{pushed, {}, time.Now().Add(1000 * day)}
	_, err = r.PutManifest(ctx, "team/app", put)
	must(t, err)
	var record struct {
		Digest   digest.Digest
		Since    time.Time
		By       string
		Imported bool
	}
	for tag, want := range map[string]time.Time{"v1": pushed, "v2": time.Now().Add(29 * day), "later": time.Now().Add(29 * day)} {
		data, _, err := r.bucket.Get(ctx, "repos/team/app/_tags/"+tag)
		must(t, err, json.Unmarshal(data, &record))
		if record.Digest != source || record.By != "zot-ci" || !record.Imported || record.Since.Sub(want).Abs() > time.Hour {
			t.Errorf("the record of %s is %s, want the time %s", tag, data, want)
		}
	}
	data, _, err := r.bucket.Get(ctx, "manifests/sha256/"+source.Encoded()[:2]+"/"+source.Encoded()+"+team+app")
	must(t, err, json.Unmarshal(data, &record))
	if !record.Since.Equal(pushed) || record.By != "zot-ci" {
		t.Errorf("the record of the manifest is %s, want the time %s", data, pushed)
	}
}

// An import moves what imports have set, and nothing that was pushed here.
func TestAnImportMovesNoTagThatWasPushedHere(t *testing.T) {
	ctx := context.Background()
	r := open(t, t.TempDir(), store.Config{})
	one, two := r.image(t, "team/app", nil, "", "one"), r.image(t, "team/app", nil, "", "two")
	put := func(d digest.Digest, tag string, imported bool) error {
		t.Helper()
		m, err := r.Manifest(ctx, "team/app", core.Reference{Digest: d})
		must(t, err)
		p := core.ManifestPut{MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Tags: []string{tag}}
		if imported {
			p.Import = &core.Import{}
		}
		_, err = r.PutManifest(ctx, "team/app", p)
		return err
	}
	must(t, put(one, "imported", true), put(one, "pushed", false), put(one, "again", true), put(one, "again", false))
	for tag, want := range map[string]digest.Digest{"imported": two, "pushed": one, "again": one} {
		err := put(two, tag, true)
		if want == one && (!errors.Is(err, core.ErrTagExists) || !strings.Contains(err.Error(), tag)) || want == two && err != nil {
			t.Errorf("an import of the other image as %s: %v", tag, err)
		}
		if got, err := r.Resolve(ctx, "team/app", core.Reference{Tag: tag}); err != nil || got.Digest != want {
			t.Errorf("%s names %s, %v, want %s", tag, got.Digest, err, want)
		}
	}
	// A push moves an imported tag like any other.
	must(t, put(one, "imported", false))
	if err := put(two, "imported", true); !errors.Is(err, core.ErrTagExists) {
		t.Errorf("an import after a push: %v", err)
	}
}

// A push of a tag that is here puts it into lists, if they lack it, whether it was imported or not.
func TestAPushOfATagThatIsHereIndexesIt(t *testing.T) {
	ctx := context.Background()
	r := open(t, t.TempDir(), store.Config{})
	untilIndexed(r)
	image := r.image(t, "team/app", nil, "", "layer")
	m, err := r.Manifest(ctx, "team/app", core.Reference{Digest: image})
	must(t, err)
	for tag, first := range map[string]*core.Import{"imported": {}, "pushed": nil} {
		put := core.ManifestPut{MediaType: m.Descriptor.MediaType, Bytes: m.Bytes, Tags: []string{tag}, Import: first}
		_, err := r.PutManifest(ctx, "team/app", put)
		must(t, err, store.Unindex(r.Store, "team/app", tag))
		put.Import = nil
		_, err = r.PutManifest(ctx, "team/app", put)
		must(t, err)
	}
	if got := all(t, r.Tags(ctx, "team/app", "")); got != "imported pushed" {
		t.Errorf("the tags are %q", got)
	}
}
