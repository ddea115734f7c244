package upstream_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// The state is the outcome of the last requests, and reading it makes no
// request.
func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := upstreamtest.NewNetwork()
		up := upstreamtest.New(t, upstreamtest.Config{Network: network})
		up.Manifest("library/nginx", "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`), "latest")
		client, err := upstream.New(upstream.Config{Name: "docker.io", URLs: []string{up.URL}, Dial: network.Dial, Breaker: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ask := func() { _, _ = client.Head(t.Context(), "library/nginx", core.Reference{Tag: "latest"}) }
		is := func(when string, want upstream.State, failed bool) {
			t.Helper()
			up.Forget()
			got, failure := client.State()
			if got != want || (failure != nil) != failed {
				t.Errorf("%s: got %s, %v, want %s", when, got, failure, want)
			}
			if asked := up.Requests(); len(asked) > 0 {
				t.Errorf("%s: the upstream was asked %q", when, asked)
			}
		}
		is("before the first request", upstream.StateUnknown, false)
		ask()
		is("after an answer", upstream.StateOK, false)
		fault := up.Fault(upstreamtest.Fault{Status: http.StatusBadGateway})
		ask()
		is("after a 502", upstream.StateAway, true)
		_, first := client.State()
		if !first.Since.Equal(time.Now()) || !first.Until.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("it is away since %v until %v, at %v", first.Since, first.Until, time.Now())
		}
		time.Sleep(2 * time.Minute)
		ask()
		if _, again := client.State(); !again.Since.Equal(first.Since) || !again.Until.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("after one more failure it is away since %v until %v, at %v", again.Since, again.Until, time.Now())
		}
		fault.Lift()
		time.Sleep(time.Hour)
		is("when there was no request since", upstream.StateAway, true)
		ask()
		is("when it is back", upstream.StateOK, false)
		fault = up.Fault(upstreamtest.Fault{Host: "registry", Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}})
		ask()
		is("after a 429", upstream.StateLimited, true)
		fault.Lift()
		time.Sleep(time.Hour)
		is("when the limit is over", upstream.StateOK, false)
	})
}
