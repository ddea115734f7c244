package commands

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

// failregex returns the filter that docs/look-up/audit.md has for fail2ban.
func failregex(t *testing.T) *regexp.Regexp {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "look-up", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "\nfailregex = ")
	if !ok {
		t.Fatal("the page has no failregex")
	}
	line, _, _ := strings.Cut(rest, "\n")
	// fail2ban puts a group for addresses and host names there.
	return regexp.MustCompile(strings.ReplaceAll(line, "<HOST>", `(?P<host>[0-9A-Fa-f:.]+)`))
}

// The filter of docs/look-up/audit.md matches the line that the binary writes about a guess, finds
// the address in it, and matches no line about a key that was good once.
func TestTheFilterForFail2banMatchesGuessesAlone(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	s := server.Start(t, server.Options{Caddyfile: caddyfile(up, "admin off"), AdminOff: true})
	secret, id := s.Key(t, "ci", "builders")
	s.Revoke(t, id)
	login := func(secret string) {
		t.Helper()
		c := server.Client(patience)
		defer c.CloseIdleConnections()
		r, err := http.NewRequest("GET", s.URL+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		// A user's input must not look like another address.
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(`x","address"="192.0.2.1","reason"="wrong":`+secret)))
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Fatalf("got status %d", response.StatusCode)
		}
	}
	filter := failregex(t)
	matches := func() (hosts []string, lines int) {
		for line := range strings.Lines(s.Log()) {
			if !strings.Contains(line, "registry_login_refused") {
				continue
			}
			lines++
			if found := filter.FindStringSubmatch(line); found != nil {
				hosts = append(hosts, found[1])
			}
		}
		return hosts, lines
	}
	login(secret)
	if hosts, lines := matches(); len(hosts) != 0 || lines != 1 {
		t.Errorf("a revoked key: %d lines, of which the filter matches %q; want one and none", lines, hosts)
	}
	login("a guess")
	if hosts, lines := matches(); len(hosts) != 1 || hosts[0] != "127.0.0.1" || lines != 2 {
		t.Errorf("a guess: %d lines, of which the filter matches %q; want two and 127.0.0.1", lines, hosts)
	}
}
