package upstream_test

import (
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestWhatIsKnownOfAnUpstream(t *testing.T) {
	u := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	u.Manifest("library/app", "application/vnd.oci.image.index.v1+json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`), "v1")
	c, err := upstream.New(upstream.Config{Name: "docker.io", URLs: []string{u.URL}, AllowPrivate: u.AllowPrivate(),
		ConnectTimeout: time.Minute, HeadTimeout: time.Minute, Breaker: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Learned(); len(got) != 1 || got[0] != (upstream.Learned{URL: u.URL}) {
		t.Errorf("before any question: got %+v", got)
	}
	if _, err := c.Head(t.Context(), "library/app", core.Reference{Tag: "v1"}); err != nil {
		t.Fatal(err)
	}
	seen := c.Probe(t.Context(), "", "")[0]
	if got := c.Learned()[0]; got.Auth != "token" || got.Realm == "" || got.Realm != seen.Realm || got.Failure != "" {
		t.Errorf("after a question: got %+v, want what a look shows: %+v", got, seen)
	}
	defer u.Fault(upstreamtest.Fault{Status: 503}).Lift()
	if _, err := c.Head(t.Context(), "library/app", core.Reference{Tag: "v1"}); err == nil {
		t.Fatal("the upstream does not fail")
	}
	if got := c.Learned()[0]; got.Failure == "" || time.Until(got.Until) < time.Minute {
		t.Errorf("after a failure: got %+v, want that the upstream is left alone", got)
	}
}
