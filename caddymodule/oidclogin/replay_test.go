package oidclogin

import (
	"errors"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/oidclogin/oidctest"
)

// Requests that strangers can send without limit must not keep others from signing
// in, and must not exhaust the memory of used codes.
func TestAFloodOfSpoiledSignInsClosesNothing(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(url.Values)
		want  error
	}{
		{"an error of the provider", func(q url.Values) { q.Del("code"); q.Set("error", "x") }, ErrRefused},
		{"an error and a code", func(q url.Values) { q.Set("error", "x") }, ErrRefused},
		{"no code", func(q url.Values) { q.Del("code") }, ErrAnswer},
		{"two codes", func(q url.Values) { q.Add("code", "b") }, ErrAnswer},
		{"another provider's answer", func(q url.Values) { q.Set("iss", "https://evil.example") }, ErrAnswer},
		{"another state", func(q url.Values) { q.Set("state", "x") }, ErrStale},
	} {
		t.Run(row.name, func(t *testing.T) {
			fake := oidctest.New(t, "registry")
			l := NewLogin(New(fake.Issuer, "registry", Config{}), noSeal{})
			l.provider.Configure(settings())
			for range 200 {
				address, cookie, err := l.Begin(t.Context(), "/", false)
				if err != nil {
					t.Fatal(err)
				}
				u, _ := url.Parse(address)
				query := url.Values{"state": {u.Query().Get("state")}, "code": {"x"}}
				row.spoil(query)
				if _, _, err := l.Finish(t.Context(), query, cookie); !errors.Is(err, row.want) {
					t.Fatalf("got %v, want %v", err, row.want)
				}
			}
			if n := l.used.Len(); n > 0 {
				t.Errorf("%d states are remembered that no code was exchanged with", n)
			}
			query, cookie := begin(t, l, fake)
			if _, _, err := l.Finish(t.Context(), query, cookie); err != nil {
				t.Errorf("a right sign-in after the flood: %v", err)
			}
			if _, _, err := l.Finish(t.Context(), query, cookie); !errors.Is(err, ErrStale) {
				t.Errorf("replayed after the flood: got %v, want %v", err, ErrStale)
			}
		})
	}
}

// A code that the provider refuses does not use up the sign-in: the browser that
// began it may come with the right one.
func TestAnInvalidCodeUsesNoStateUp(t *testing.T) {
	fake := oidctest.New(t, "registry")
	l := newLogin(t, fake, settings())
	query, cookie := begin(t, l, fake)
	fake.Token["error"] = "invalid_grant"
	for range 3 {
		if _, _, err := l.Finish(t.Context(), query, cookie); !errors.Is(err, ErrRefused) {
			t.Fatalf("got %v, want %v", err, ErrRefused)
		}
	}
	if n := l.used.Len(); n > 0 {
		t.Errorf("%d states are remembered", n)
	}
	delete(fake.Token, "error")
	if _, _, err := l.Finish(t.Context(), query, cookie); err != nil {
		t.Error(err)
	}
}

// A memory that is full forgets its oldest state, and lets new ones in.
func TestAFullMemoryOfStatesTakesNewOnes(t *testing.T) {
	fake := oidctest.New(t, "registry")
	l := newLogin(t, fake, settings())
	for i := range maxUsed {
		l.used.Add(strconv.Itoa(i), struct{}{})
	}
	query, cookie := begin(t, l, fake)
	if _, _, err := l.Finish(t.Context(), query, cookie); err != nil {
		t.Error(err)
	}
	if _, _, err := l.Finish(t.Context(), query, cookie); !errors.Is(err, ErrStale) {
		t.Errorf("replayed: got %v, want %v", err, ErrStale)
	}
	if l.used.Len() > maxUsed {
		t.Errorf("%d states are remembered, want %d at most", l.used.Len(), maxUsed)
	}
}

// The provider of this test takes a code any number of times, as none should.
func TestOfManyCallbacksAtOnceOneSignsIn(t *testing.T) {
	fake := oidctest.New(t, "registry")
	l := newLogin(t, fake, settings())
	query, cookie := begin(t, l, fake)
	var all sync.WaitGroup
	var in atomic.Int32
	for range 8 {
		all.Go(func() {
			switch _, _, err := l.Finish(t.Context(), query, cookie); {
			case err == nil:
				in.Add(1)
			case !errors.Is(err, ErrStale):
				t.Errorf("got %v, want %v", err, ErrStale)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d callbacks have signed in, want 1", in.Load())
	}
}
