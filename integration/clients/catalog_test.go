package clients

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// A caller that may read few of many repositories gets short pages, and crane follows them to
// the end.
func TestCraneListsAFilteredCatalogToItsEnd(t *testing.T) {
	const hidden, pushers = 1100, 32
	// Without TLS, as crane refuses a Link of https from a host on loopback.
	caddyfile := strings.NewReplacer("https://", "http://", "\ttls internal\n", "",
		"allow anonymous read fetch", "allow anonymous read on shown/** secret/*/shown").Replace(tiers)
	s := server.Start(t, server.Options{Caddyfile: caddyfile})
	h := newHome(t)
	secret, _ := s.Key(t, "zot-ci", "artifact-workloads")
	c := client.New(s.URL).Login("zot-ci", secret)
	defer c.Close()
	want := []string{"secret/n01050/shown", "shown/app"}
	repos := make(chan string)
	var group sync.WaitGroup
	for range pushers {
		group.Go(func() {
			for repo := range repos {
				index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"repo":%q}}`, repo)
				if err := c.PutManifest(t.Context(), repo, "v1", "application/vnd.oci.image.index.v1+json", []byte(index)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, repo := range want {
		repos <- repo
	}
	for i := range hidden {
		repos <- fmt.Sprintf("secret/n%05d", i)
	}
	close(repos)
	group.Wait()
	got := strings.Fields(h.run(t, "crane", "catalog", s.Host))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("crane lists %q, want %q", got, want)
	}
}
