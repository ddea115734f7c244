package upstream_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// moving is a registry that changes how it wants to be asked.
type moving struct {
	mu        sync.Mutex // guards what follows
	challenge string     // empty: none is wanted
	token     string     // what it accepts after a Bearer challenge
	asked     []string
}

func (m *moving) wants(challenge, token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.challenge, m.token, m.asked = challenge, token, nil
}

func (m *moving) requests() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func (m *moving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	m.asked = append(m.asked, strings.TrimSpace(r.Host+" "+scheme))
	right := m.challenge == "" || scheme == "Bearer" && value == m.token
	if _, secret, ok := r.BasicAuth(); ok && strings.HasPrefix(m.challenge, "Basic") {
		right = secret == "secret"
	}
	if !right {
		w.Header().Set("WWW-Authenticate", m.challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", index)
	w.Header().Set("Docker-Content-Digest", string(digest.FromBytes(document)))
	_, _ = w.Write(document)
}

// serve puts a handler on the network, until the test ends.
func serve(t *testing.T, n *upstreamtest.Network, host string, h http.Handler) {
	t.Helper()
	s := &http.Server{Handler: h}
	l := n.Listen(host, netip.MustParseAddr("203.0.113.80"))
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		done.Wait()
	})
}

// A registry's challenge is not trusted forever: whatever happens to its old realm,
// the next request follows its next challenge.
func TestRegistryThatAsksInAnotherWay(t *testing.T) {
	const (
		old   = `Bearer realm="http://old.test/token",service="s"`
		moved = `Bearer realm="http://new.test/token",service="s"`
		basic = `Basic realm="x"`
	)
	oldRealm := map[string]http.HandlerFunc{
		"still answers": token("old"),
		"is gone":       nil,
		"refuses":       status(http.StatusForbidden, ""),
		"wants a login": status(http.StatusUnauthorized, ""),
		"is not there":  status(http.StatusNotFound, "<html>"),
		"answers 400":   status(http.StatusBadRequest, ""),
		"answers 503":   status(http.StatusServiceUnavailable, ""),
		"shows a page":  status(http.StatusOK, "<html>"),
	}
	for _, tt := range []struct {
		name, before, after, token string
	}{
		{"another realm", old, moved, "new"},
		{"another service", old, `Bearer realm="http://old.test/token",service="t"`, "old-t"},
		{"another scope", old, `Bearer realm="http://old.test/token",service="s",scope="aws"`, "old-s-aws"},
		{"Basic after Bearer", old, basic, ""},
		{"Bearer after Basic", basic, moved, "new"},
		{"nothing after Bearer", old, "", ""},
		{"nothing after Basic", basic, "", ""},
	} {
		for fate, handler := range oldRealm {
			if strings.HasPrefix(tt.token, "old-") {
				if fate != "still answers" {
					continue
				}
				handler = picky
			}
			t.Run(tt.name+", and the old one "+fate, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := upstreamtest.NewNetwork()
					m := &moving{}
					serve(t, n, "registry.test:80", m)
					serve(t, n, "new.test:80", token("new"))
					var mu sync.Mutex
					first := http.Handler(token("old"))
					serve(t, n, "old.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						mu.Lock()
						h := first
						mu.Unlock()
						h.ServeHTTP(w, r)
					}))
					c := open(t, upstream.Config{
						Name: "fake", URLs: []string{"http://registry.test"}, Dial: n.Dial, User: "user", Secret: "secret",
						AllowPrivate: []string{"old.test:80", "new.test:80"}, // may see the credentials
					})
					m.wants(tt.before, "old")
					if _, err := c.Manifest(t.Context(), "a", tag); err != nil {
						t.Fatal(err)
					}
					m.wants(tt.after, tt.token)
					_ = c.Close() // no connection is left to the old realm
					if handler == nil {
						n.Refuse("old.test:80", true)
					} else {
						mu.Lock()
						first = handler
						mu.Unlock()
					}
					// One repository has a token, the other has none.
					for _, name := range []string{"a", "b", "a"} {
						if _, err := c.Manifest(t.Context(), name, tag); err != nil {
							t.Errorf("%s: got %v, want none", name, err)
						}
					}
					if got := m.requests(); len(got) > 7 {
						t.Errorf("three questions were %d requests: %q", len(got), got)
					}
				})
			})
		}
	}
}

// A challenge that cannot be followed, said once or a few times, costs those requests
// and no other: without waiting, and without a restart.
func TestChallengeThatWasAMistake(t *testing.T) {
	for _, challenge := range []string{
		`Bearer realm="ftp://x/y"`,
		`Bearer realm="file:///etc/passwd"`,
		`Bearer realm="http://nowhere.test/token"`,
		`Bearer realm="http://169.254.169.254/token"`,
		`Bearer realm="http://private.test/token"`,
		`Bearer realm="http://user:pass@token.test/"`,
		`Bearer realm="/token"`,
		`Bearer realm="http://"`,
		`Bearer realm="http://token.test/token",service="other"`,
		`Bearer realm="http://closed.test/token"`,
		`Basic realm="x"`,
		`Negotiate`,
		"",
	} {
		for _, times := range []int{1, 2, 3, 4} {
			t.Run(fmt.Sprintf("%s %d times", challenge, times), func(t *testing.T) {
				bubble(t, upstreamtest.Hub, nil, func(t *testing.T, f *fixture, n *upstreamtest.Network) {
					n.Listen("private.test:80", netip.MustParseAddr("10.0.0.1"))
					n.Listen("closed.test:80", netip.MustParseAddr("203.0.113.9"))
					n.Refuse("closed.test:80", true)
					if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
						t.Fatal(err)
					}
					f.Fault(upstreamtest.Fault{
						Host: "registry", Status: http.StatusUnauthorized, Times: times,
						Header: header("Www-Authenticate", challenge),
					})
					for range times {
						_, _ = f.client.Manifest(t.Context(), repo, tag) // however these end
					}
					f.Forget()
					if _, err := f.client.Manifest(t.Context(), repo, tag); err != nil {
						t.Errorf("got %v, want none", err)
					}
					if got := len(f.Requests()); got > 3 {
						t.Errorf("the registry and its realm saw %d requests, want at most 3: %q", got, f.Requests())
					}
				})
			})
		}
	}
}

// A realm that hangs is not asked for ever, either.
func TestRealmThatHangsIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := upstreamtest.NewNetwork()
		m := &moving{}
		serve(t, n, "registry.test:80", m)
		serve(t, n, "old.test:80", token("old"))
		c := open(t, upstream.Config{Name: "fake", URLs: []string{"http://registry.test"}, Dial: n.Dial, Breaker: 1})
		m.wants(`Bearer realm="http://old.test/token"`, "old")
		if _, err := c.Head(t.Context(), "a", tag); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		n.BlackHole("old.test:80", true)
		m.wants("", "")
		if _, err := c.Head(t.Context(), "b", tag); err == nil {
			t.Error("got an answer within the head timeout, want none")
		}
		time.Sleep(time.Second) // the breaker's
		if _, err := c.Head(t.Context(), "b", tag); err != nil {
			t.Errorf("got %v the second time, want none", err)
		}
	})
}

// token is an endpoint that gives every client the same token.
func token(value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, value)
	}
}

// picky makes a token from the request, after its first one.
func picky(w http.ResponseWriter, r *http.Request) {
	value := []string{"old", r.FormValue("service")}
	if scopes := r.Form["scope"]; len(scopes) > 1 {
		value = append(value, scopes[1])
	}
	fmt.Fprintf(w, `{"token":"%s","expires_in":300}`, strings.Join(value, "-"))
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}
