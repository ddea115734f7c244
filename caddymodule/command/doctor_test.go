package command

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/doctor/checks"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/evict"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestDoctorLooksAtMirrors(t *testing.T) {
	kept := &storage.File{Path: t.TempDir()}
	if err := kept.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	s, err := running.Load(kept, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Unload(nil)
	trees, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	held := core.ManifestPut{
		MediaType: ocispec.MediaTypeImageIndex, Tags: []string{"v1"},
		Bytes: []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`),
	}
	if _, err := trees.Mirrors.PutManifest(t.Context(), "quay.io/coreos/etcd", held); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.CountUse(namespace.Resolved{Mirror: "quay.io", Form: "ns"}, "10.0.0.7")
	}
	s.CountUse(namespace.Resolved{Mirror: "quay.io", Form: "prefix"}, "10.0.0.8")
	for _, tag := range []string{"v1", "v2"} {
		record := []byte(`{"digest":"","time":"2026-11-01T00:00:00Z","gone":"2026-11-02T00:00:00Z"}`)
		if _, err := trees.State.Put(t.Context(), "mirror/checks/quay.io/coreos/etcd/_tags/"+tag, record, bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	good := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Basic})
	broken := upstreamtest.New(t, upstreamtest.Config{})
	defer broken.Fault(upstreamtest.Fault{Status: 503}).Lift()
	client := func(u *upstreamtest.Upstream) func() (*upstream.Client, error) {
		return func() (*upstream.Client, error) {
			return upstream.New(upstream.Config{Name: "quay.io", URLs: []string{u.URL}, User: "user", Secret: "secret", AllowPrivate: u.AllowPrivate(), ConnectTimeout: time.Minute, HeadTimeout: time.Minute})
		}
	}
	r, err := (&location{storage: kept.Path}).find()
	if err != nil {
		t.Fatal(err)
	}
	p := r.patient()
	p.MinFree = evict.MinFree{Bytes: 1 << 60}
	p.Mirrors = []checks.Mirror{
		{Name: "quay.io", Client: client(good)}, {Name: "ghcr.io", Client: client(broken)},
		{Name: "lost.example", Client: func() (*upstream.Client, error) { return nil, errors.New("no credentials") }},
	}
	report := doctor.Examine(t.Context(), p.Checks())
	for _, want := range []doctor.Finding{
		{Check: "storage", Level: doctor.OK, Text: "is in use by process"},
		{Check: "identity", Level: doctor.OK, Text: "can be read"},
		{Check: "disk", Level: doctor.Fail, Text: "they evict"},
		{Check: "use of quay.io", Level: doctor.OK, Text: "4 requests in the last 30 days, by ns, prefix, from 10.0.0."},
		{Check: "tags of quay.io", Level: doctor.Warn, Text: "2 tags that the upstream has deleted are served on"},
		{Check: "upstream of quay.io", Level: doctor.OK, Text: "asks for a password, was asked with the credentials"},
		{Check: "use of ghcr.io", Level: doctor.Warn, Text: "no client has asked this mirror"},
		{Check: "upstream of ghcr.io", Level: doctor.Fail, Text: "503"},
		{Check: "use of lost.example", Level: doctor.Warn, Text: "registry doctor --clients lost.example"},
		{Check: "upstream of lost.example", Level: doctor.Fail, Text: "no credentials"},
	} {
		i := slices.IndexFunc(report.Findings, func(f doctor.Finding) bool { return f.Check == want.Check })
		if got := report.Findings[i]; got.Level != want.Level || !strings.Contains(got.Text, want.Text) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if report.OK {
		t.Error("all is well")
	}
	// The held repository is asked for with HEAD, which does not count as a
	// pull.
	for _, request := range good.Requests() {
		if strings.Contains(request, "manifests") && !strings.Contains(request, "HEAD /v2/coreos/etcd/manifests/latest") {
			t.Errorf("the upstream saw %s", request)
		}
	}
}
