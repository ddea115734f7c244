package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/pulls"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// offer puts an image with a layer of 100,000 bytes into an upstream.
func offer(t *testing.T, u *upstreamtest.Upstream, repo string) digest.Digest {
	t.Helper()
	blob := u.Blob(repo, registrytest.RandomBytes(100_000))
	u.Manifest(repo, ocispec.MediaTypeImageManifest, fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},`+
			`"layers":[{"mediaType":"a/b","digest":%q,"size":100000}]}`,
		ocispec.MediaTypeImageManifest, u.Blob(repo, []byte("{}")), blob), "latest")
	return blob
}

// The oldest pull goes, also when it was pulled before a restart; the rest is served
// with the upstream down.
func TestAMirrorKeepsWhatWasPulledLast(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	blobs := map[string]digest.Digest{}
	for _, name := range []string{"one", "two", "three"} {
		blobs[name] = offer(t, up, "team/"+name)
	}
	storage := t.TempDir()
	block := fmt.Sprintf("%s\ngc {\ngrace 1ms\n}\nmirror quay.io {\nupstream %s\nmax_size 250kB\n}",
		registrytest.AllowAll, up.URL)
	begin := func() *registrytest.Registry {
		port := registrytest.FreePort(t)
		registrytest.Serve(t, port, storage, block, "")
		return registrytest.At(t, port)
	}
	pull := func(r *registrytest.Registry, status int, name string) {
		t.Helper()
		r.Want(status, "GET", "/v2/quay.io/team/"+name+"/manifests/latest", nil)
		if status == http.StatusOK {
			r.Want(status, "GET", "/v2/quay.io/team/"+name+"/blobs/"+string(blobs[name]), nil)
		}
	}
	r := begin()
	for _, name := range []string{"one", "two", "one"} {
		pull(r, http.StatusOK, name)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	r = begin()
	const held = `registry_mirror_held_bytes{mirror="quay.io"}`
	r.Eventually("what is held is measured", func() bool { return r.Metric(held) > 200_000 })
	pull(r, http.StatusOK, "three")
	r.Eventually("space is made", func() bool {
		return r.Metric(held) < 250_000 && r.Metric("registry_mirror_evicted_manifests_total") > 0
	})
	defer up.Fault(upstreamtest.Fault{Status: 503}).Lift()
	pull(r, http.StatusOK, "one")
	pull(r, http.StatusOK, "three")
	pull(r, http.StatusBadGateway, "two")
	// A purge takes effect at once.
	if _, told, status := registrytest.Run(t, "purge", "quay.io/team/one",
		"--storage", storage); status != registrytest.Done {
		t.Fatal(told)
	}
	pull(r, http.StatusBadGateway, "one")
}

func TestDoctorByConfiguration(t *testing.T) {
	hub, quay := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub}),
		upstreamtest.New(t, upstreamtest.Config{})
	offer(t, quay, "team/one")
	storage, port := t.TempDir(), registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, storage,
		fmt.Sprintf("%s\nmin_free 0\nmirror docker.io {\nupstream %s\nallow_private %s\n}\nmirror quay.io {\n"+
			"upstream %s\n}",
			registrytest.AllowAll, hub.URL, strings.Join(hub.AllowPrivate(), " "), quay.URL), "")
	registrytest.Load(t, text)
	registrytest.At(t, port).Want(http.StatusOK, "GET", "/v2/quay.io/team/one/manifests/latest", nil)
	registrytest.At(t, port).Want(http.StatusOK, "GET", "/v2/team/one/manifests/latest?ns=quay.io", nil)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	report, _, status := examine(t, "--config", config)
	want := []doctor.Finding{
		{Check: "storage", Level: doctor.OK, Text: "is in use by process"},
		{Check: "identity", Level: doctor.OK, Text: "can be read"},
		{Check: "keys", Level: doctor.OK, Text: "no key expires"},
		{Check: "content", Level: doctor.OK, Text: "nothing is in quarantine"},
		{Check: "records", Level: doctor.OK, Text: "in good order"},
		{Check: "disk", Level: doctor.OK, Text: "mirrors leave 0 B free"},
		{Check: fmt.Sprintf("site http://127.0.0.1:%d", port), Level: doctor.OK, Text: "this registry alone answers"},
		{Check: "use of docker.io", Level: doctor.Warn, Text: "no client has asked this mirror"},
		{Check: "tags of docker.io", Level: doctor.OK, Text: "no tag"},
		{Check: "upstream of docker.io", Level: doctor.OK, Text: "asks for a token"},
		{Check: "use of quay.io", Level: doctor.OK,
			Text: "2 requests in the last 30 days, by ns, prefix, from 127.0.0.1"},
		{Check: "tags of quay.io", Level: doctor.OK, Text: "no tag"},
		{Check: "upstream of quay.io", Level: doctor.OK, Text: "asks for no token"},
		{Check: "cache", Level: doctor.OK, Text: "in memory"},
	}
	// The machine's disk may have no journal.
	found := slices.DeleteFunc(slices.Clone(report.Findings), func(f doctor.Finding) bool {
		return f.Check == "durability"
	})
	if status != registrytest.Done || len(found) != len(report.Findings)-1 ||
		!slices.EqualFunc(found, want, func(got, want doctor.Finding) bool {
			return got.Check == want.Check && got.Level == want.Level && strings.Contains(got.Text, want.Text)
		}) {
		t.Errorf("got status %d, %+v", status, report.Findings)
	}
	defer quay.Fault(upstreamtest.Fault{Status: 500}).Lift()
	if report, _, status := examine(t, "--config", config); status != registrytest.Failed || report.OK {
		t.Errorf("a broken upstream: got status %d, %+v", status, report)
	}
}

// Pulls of private images are counted by manifest and by tag: a GET is one, however it
// names the manifest, a HEAD is none, nor is what is refused, and nothing is forgotten by
// a restart.
func TestPullsOfPrivateImagesAreCounted(t *testing.T) {
	port, storage := registrytest.FreePort(t), t.TempDir()
	r := registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	tagged := r.PushImage("team/app", "v1", []byte("one"))
	r.PushImage("team/app", "latest", []byte("one"))
	untagged := r.PushImage("team/app", "gone", []byte("two"))
	r.Want(http.StatusAccepted, "DELETE", "/v2/team/app/manifests/gone", nil)
	get := func(status int, method, ref string) {
		t.Helper()
		r.Want(status, method, "/v2/team/app/manifests/"+ref, nil)
	}
	for range 3 {
		get(http.StatusOK, "GET", "v1")
		get(http.StatusOK, "HEAD", "v1")
		get(http.StatusOK, "HEAD", string(untagged))
	}
	get(http.StatusOK, "GET", "latest")
	get(http.StatusOK, "GET", string(tagged))
	get(http.StatusOK, "GET", string(untagged))
	get(http.StatusNotFound, "GET", "v2")
	get(http.StatusNotFound, "GET", string(digest.FromString("nobody's")))
	check := func() {
		t.Helper()
		// A request is counted when its answer has left.
		registrytest.Eventually(t, "all pulls are counted", func() bool {
			var n int64
			for _, c := range privatePullsOf(t, "team/app").Manifests {
				n += c.N
			}
			return n >= 6
		})
		record := privatePullsOf(t, "team/app")
		if len(record.Manifests) != 2 || record.Manifests[tagged].N != 5 || record.Manifests[untagged].N != 1 {
			t.Errorf("counted %v of manifests, want 5 and 1", record.Manifests)
		}
		if len(record.Tags) != 2 || record.Tags["v1"].N != 3 || record.Tags["latest"].N != 1 {
			t.Errorf("counted %v of tags, want 3 of v1 and 1 of latest", record.Tags)
		}
	}
	check()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	registrytest.Serve(t, port, storage, registrytest.AllowAll, "")
	check()
	var answer api.RepositoryAnswer
	registrytest.Eventually(t, "the repository has the pulls of today", func() bool {
		_, body := r.Do("GET", "/api/images/team/app", nil)
		return json.Unmarshal(body, &answer) == nil && len(answer.Repository.Days) == 1 && answer.Repository.Days[0].N == 6
	})
}

// privatePullsOf is what the open storage knows about the pulls of a repository.
func privatePullsOf(t *testing.T, repo string) pulls.Record {
	t.Helper()
	trees, err := registrytest.Storage(t).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer registrytest.Storage(t).Release()
	record, err := trees.Pulls.Record(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	return record
}
