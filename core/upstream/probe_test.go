package upstream_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestProbe(t *testing.T) {
	for _, row := range []struct {
		name   string
		kind   upstreamtest.Kind
		secret string
		fault  *upstreamtest.Fault
		auth   string
		limit  int
		err    error
	}{
		{name: "an open registry", kind: upstreamtest.Open, auth: "none"},
		{name: "a registry with passwords", kind: upstreamtest.Basic, secret: "secret", auth: "basic"},
		{name: "without the password", kind: upstreamtest.Basic, auth: "basic", err: upstream.ErrDenied},
		{name: "docker hub", kind: upstreamtest.Hub, auth: "token", limit: 100},
		{name: "a broken one", kind: upstreamtest.Open, fault: &upstreamtest.Fault{Status: 500}, err: upstream.ErrUnavailable},
		{name: "one that hangs", kind: upstreamtest.Open, fault: &upstreamtest.Fault{Hang: true}, err: upstream.ErrTimeout},
	} {
		t.Run(row.name, func(t *testing.T) {
			configure := func(c *upstream.Config) {
				if row.secret != "" {
					c.User, c.Secret = "user", row.secret
				}
			}
			bubble(t, row.kind, configure, func(t *testing.T, up *fixture, _ *upstreamtest.Network) {
				if row.fault != nil {
					up.Fault(*row.fault)
				}
				got := up.client.Probe(t.Context(), repo, tag.Tag)
				if len(got) != 1 {
					t.Fatalf("got %+v", got)
				}
				f := got[0]
				if !errors.Is(f.Err, row.err) || f.Auth != row.auth || f.Limit.Limit != row.limit || f.URL != up.URL {
					t.Errorf("got %+v", f)
				}
				if row.fault == nil && (!f.Dated || f.Skew != 0) {
					t.Errorf("the clock is %s ahead, dated %t", f.Skew, f.Dated)
				}
				for _, request := range up.Requests() {
					if request == "registry "+http.MethodGet+" /v2/"+repo+"/manifests/"+tag.Tag {
						t.Error("a look counted as a pull")
					}
				}
			})
		})
	}
}
