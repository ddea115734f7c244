package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/eblume/caddy-registry/caddymodule/jwks"
	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
)

// clock is a time that a test sets.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time       { return time.Unix(0, c.at.Load()) }
func (c *clock) pass(d time.Duration) { c.at.Add(int64(d)) }

// inMemory calls a handler without a network.
type inMemory struct{ http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w.Result(), nil
}

// forge is an issuer with a clock, of which the log is kept.
type forge struct {
	*testing.T
	*oidctest.Provider
	*clock
	issuer *Issuer
	log    *bytes.Buffer
}

func newForge(t *testing.T) *forge {
	f := &forge{T: t, Provider: oidctest.New(t, audience), clock: newClock(), log: new(bytes.Buffer)}
	f.issuer = New(f.Issuer, Config{
		Now: f.now, Transport: inMemory{f.Config.Handler}, Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	return f
}

// token is one of a job, by the key that the issuer has now.
func (f *forge) token() string { return f.Sign(job(f.Issuer, f.now(), nil)) }

// stranger is one by a key that the issuer never had.
func (f *forge) stranger(kid string) string {
	return signed(f.T, jose.EdDSA, newKeys(f.T).ed, kid, job(f.Issuer, f.now(), nil))
}

func (f *forge) want(what, token string, want error) {
	f.Helper()
	if _, err := f.issuer.Verify(f.Context(), token); !errors.Is(err, want) {
		f.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func (f *forge) wantAsked(times int) {
	f.Helper()
	if got := f.Count("/keys"); got != times {
		f.Errorf("the keys were asked for %d times, want %d", got, times)
	}
}

func TestKeysAreFetchedOnceForAll(t *testing.T) {
	f := newForge(t)
	f.wantAsked(0)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { f.want("a first token", f.token(), nil) })
	}
	all.Wait()
	f.wantAsked(1)
	f.pass(keyLife)
	f.want("after the life of the keys", f.token(), nil)
	f.wantAsked(2)
}

// Anybody can send a token that names a key which the issuer does not have.
func TestAFloodOfUnknownKeysIsNotPassedOn(t *testing.T) {
	f := newForge(t)
	key := newKeys(t).ed
	flood := func() {
		var all sync.WaitGroup
		for n := range 200 {
			all.Go(func() {
				raw := signed(t, jose.EdDSA, key, fmt.Sprint("made up ", n), job(f.Issuer, f.now(), nil))
				f.want("an unknown key", raw, ErrToken)
			})
		}
		all.Wait()
	}
	flood()
	f.wantAsked(1)
	f.want("an honest job", f.token(), nil)
	f.pass(refetch)
	flood()
	f.wantAsked(2)
	f.want("an honest job", f.token(), nil)
	f.wantAsked(2)
}

func TestKeysAreRotated(t *testing.T) {
	for _, kid := range []string{"two", "one"} { // another name, and the same for another key
		f := newForge(t)
		before := f.token()
		f.want("before", before, nil)
		f.pass(refetch)
		f.Rotate(kid)
		f.want("the new key", f.token(), nil)
		f.want("the old key", before, ErrToken)
		f.wantAsked(2)

		// Somebody has used up what the next rotation needs: for ten seconds.
		f.Rotate("three")
		f.want("at once", f.token(), ErrToken)
		f.pass(refetch)
		f.want("later", f.token(), nil)
	}
}

func TestAnIssuerThatIsDown(t *testing.T) {
	f := newForge(t)
	f.Down = true
	for range 3 {
		f.want("at the start", f.token(), ErrUnavailable)
	}
	if got := f.Count("/app/.well-known/openid-configuration"); got != 1 {
		t.Errorf("asked %d times, want 1: it is left alone for a while", got)
	}
	f.pass(firstRetry)
	f.want("a second later", f.token(), ErrUnavailable)
	f.pass(firstRetry)
	f.want("the pause grows", f.token(), ErrUnavailable)
	if got := f.Count("/app/.well-known/openid-configuration"); got != 2 {
		t.Errorf("asked %d times, want 2", got)
	}
	f.Down = false
	f.pass(2 * firstRetry)
	f.want("when it is back", f.token(), nil)

	// Later it is down again: the keys that are known are good for their time.
	f.Down = true
	f.pass(keyLife - time.Second)
	f.want("while the keys live", f.token(), nil)
	f.want("a key that is not known", f.stranger("other"), ErrUnavailable)
	f.pass(lastRetry)
	f.want("after their life", f.token(), ErrUnavailable)
	f.pass(lastRetry)
	f.want("after their life", f.token(), ErrUnavailable)
	f.Down = false
	f.pass(lastRetry)
	f.want("when it is back", f.token(), nil)

	if got := strings.Count(f.log.String(), "level=WARN"); got != 2 {
		t.Errorf("got %d warnings, want one for each time that it went down:\n%s", got, f.log)
	}
	if got := strings.Count(f.log.String(), "level=INFO"); got != 2 {
		t.Errorf("got %d notes, want one for each time that it came back:\n%s", got, f.log)
	}
}

// A job that leaves must not take the answer from those who wait for it, too.
func TestAJobThatLeaves(t *testing.T) {
	f := newForge(t)
	held, asked := make(chan struct{}), make(chan struct{}, 1)
	f.issuer.transport = inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/keys") {
			asked <- struct{}{}
			<-held
		}
		f.Config.Handler.ServeHTTP(w, r)
	})}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	token := f.token()
	go func() {
		_, err := f.issuer.Verify(ctx, token)
		left <- err
	}()
	<-asked
	leave()
	if err := <-left; !errors.Is(err, ErrUnavailable) {
		t.Errorf("who left got %v", err)
	}
	stayed := make(chan error)
	go func() {
		_, err := f.issuer.Verify(t.Context(), token)
		stayed <- err
	}()
	close(held)
	if err := <-stayed; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	f.wantAsked(1)
}

// An issuer's metadata must not lead elsewhere.
func TestAnIssuerThatLies(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer func(r *http.Request) (status int, location, body string)
	}{
		{"it says that it is another", func(*http.Request) (int, string, string) {
			return 200, "", `{"issuer":"https://evil.example","jwks_uri":"https://forge.example.org/keys"}`
		}},
		{"it has no keys", func(r *http.Request) (int, string, string) {
			return 200, "", `{"issuer":"https://forge.example.org/api/actions"}`
		}},
		{"its keys are on plain HTTP", func(r *http.Request) (int, string, string) {
			return 200, "", `{"issuer":"https://forge.example.org/api/actions","jwks_uri":"http://forge.example.org/keys"}`
		}},
		{"it leads to plain HTTP", func(r *http.Request) (int, string, string) {
			if r.URL.Scheme == "https" {
				return 302, "http://forge.example.org" + r.URL.Path, ""
			}
			return 200, "", `{"issuer":"https://forge.example.org/api/actions","jwks_uri":"https://forge.example.org/keys"}`
		}},
		{"it leads in a circle", func(r *http.Request) (int, string, string) { return 302, r.URL.String(), "" }},
		{"it answers without an end", func(*http.Request) (int, string, string) {
			return 200, "", `{"issuer":"https://forge.example.org/api/actions","x":"` + strings.Repeat("a", jwks.MaxAnswer) + `"}`
		}},
		{"its keys are no keys", func(r *http.Request) (int, string, string) {
			if strings.HasSuffix(r.URL.Path, "/keys") {
				return 200, "", `<html>`
			}
			return 200, "", `{"issuer":"https://forge.example.org/api/actions","jwks_uri":"https://forge.example.org/keys"}`
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status, location, body := row.answer(r)
				w.Header().Set("Content-Type", "application/json")
				if location != "" {
					w.Header().Set("Location", location)
				}
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			})
			issuer := New("https://forge.example.org/api/actions", Config{Transport: inMemory{handler}})
			raw := signed(t, jose.EdDSA, newKeys(t).ed, "k", job(issuer.URL(), time.Now(), nil))
			if _, err := issuer.Verify(t.Context(), raw); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want %v", err, ErrUnavailable)
			}
		})
	}
}
