package upstream_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

func TestProbe(t *testing.T) {
	const repo = "library/nginx"
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
			up := upstreamtest.New(t, upstreamtest.Options{Kind: row.kind})
			up.Manifest(repo, ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`), "latest")
			config := upstream.Config{
				Name: "docker.io", URLs: []string{up.URL}, AllowPrivate: up.AllowPrivate(),
				ConnectTimeout: 100 * time.Millisecond, HeadTimeout: time.Second,
			}
			if row.secret != "" {
				config.User, config.Secret = "user", row.secret
			}
			client, err := upstream.New(config)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if row.fault != nil {
				defer up.Fault(*row.fault).Lift()
			}
			got := client.Probe(t.Context(), repo, "latest")
			if len(got) != 1 {
				t.Fatalf("got %+v", got)
			}
			f := got[0]
			if !errors.Is(f.Err, row.err) || f.Auth != row.auth || f.Limit.Limit != row.limit || f.URL != up.URL {
				t.Errorf("got %+v", f)
			}
			if row.fault == nil && (!f.Dated || f.Skew.Abs() > time.Minute) {
				t.Errorf("the clock is %s ahead, dated %t", f.Skew, f.Dated)
			}
			for _, request := range up.Requests() {
				if request == "registry "+http.MethodGet+" /v2/"+repo+"/manifests/latest" {
					t.Error("a look counted as a pull")
				}
			}
		})
	}
}
