package caddymodule_test

import (
	"net/http"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// Clients that speak HTTP/2 without TLS can do so as with Caddy's default.
func TestAPlainSiteSpeaksBothVersions(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	for _, major := range []int{1, 2} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(major == 1)
		protocols.SetUnencryptedHTTP2(major == 2)
		transport := &http.Transport{Protocols: protocols, DisableKeepAlives: true}
		response, err := (&http.Client{Transport: transport}).Get(registrytest.At(t, port).Base + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		transport.CloseIdleConnections()
		if response.ProtoMajor != major || response.StatusCode != http.StatusOK {
			t.Errorf("got %s %s, want HTTP/%d", response.Proto, response.Status, major)
		}
	}
}
