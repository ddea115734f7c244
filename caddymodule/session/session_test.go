package session

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
)

func openBucket(t *testing.T) bucket.Bucket {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Close() })
	b, err := storage.Bucket("identity")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T, b bucket.Bucket, now func() time.Time) *Store {
	t.Helper()
	s, err := Open(t.Context(), b, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessions(t *testing.T) {
	b, now := openBucket(t), time.Now()
	clock := func() time.Time { return now }
	s := open(t, b, clock)
	create := func(user, sid string) string {
		t.Helper()
		id, err := s.Create(t.Context(), Session{User: user, Issuer: "i", Subject: user, SID: sid}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ada, bob, also := create("ada", "1"), create("bob", "2"), create("ada", "3")

	// A restart keeps them, and the storage does not have the id.
	s = open(t, b, clock)
	if got, ok := s.Get(ada); !ok || got.User != "ada" {
		t.Fatalf("got %v %v after a restart", got, ok)
	}
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := b.Get(t.Context(), info.Key)
		if err != nil || strings.Contains(info.Key, ada) || bytes.Contains(data, []byte(ada)) {
			t.Errorf("%s has the id (%v)", info.Key, err)
		}
	}

	if err := s.End(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	if n, err := s.EndAll(t.Context(), func(s Session) bool { return s.SID == "2" }); n != 1 || err != nil {
		t.Errorf("ended %d, %v, want 1", n, err)
	}
	s = open(t, b, clock)
	for id, want := range map[string]bool{ada: false, bob: false, also: true, "": false, "x": false} {
		if _, got := s.Get(id); got != want {
			t.Errorf("session %q: got %v, want %v", id, got, want)
		}
	}
	now = now.Add(2 * time.Hour)
	if _, ok := s.Get(also); ok {
		t.Error("a session outlived its time")
	}
}

func TestSeal(t *testing.T) {
	b := openBucket(t)
	sealed := open(t, b, nil).Seal("a", []byte("secret"))
	s := open(t, b, nil)
	if plain, err := s.Unseal("a", sealed); err != nil || string(plain) != "secret" {
		t.Errorf("got %q %v after a restart", plain, err)
	}
	if _, err := s.Unseal("b", sealed); err == nil {
		t.Error("a seal is good for another purpose")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := s.Unseal("a", sealed); err == nil {
		t.Error("an altered seal is good")
	}
}

func TestCookies(t *testing.T) {
	w := httptest.NewRecorder()
	SetCookie(w, "s", "v", time.Hour, true)
	SetCookie(w, "s", "v", time.Hour, false)
	got := w.Header()["Set-Cookie"]
	want := []string{"__Host-s=v; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax", "s=v; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", "s=plain; __Host-s=a; t=1; t=2")
	for _, row := range []struct {
		name   string
		secure bool
		want   string
	}{{"s", true, "a"}, {"s", false, "plain"}, {"t", false, ""}, {"u", true, ""}} {
		if got := Cookie(r, row.name, row.secure); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

func FuzzCookie(f *testing.F) {
	f.Add("__Host-s=a; s=b; =; ;;")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", header)
		if got := Cookie(r, "s", true); got != "" && !strings.Contains(header, got) {
			t.Errorf("%q is not in %q", got, header)
		}
	})
}

// Somebody who signs in without end ends sessions of their own, the oldest first.
func TestSessionsOfAUserAreBounded(t *testing.T) {
	b, now := openBucket(t), time.Now()
	s := open(t, b, func() time.Time { return now })
	create := func(user, issuer string) string {
		t.Helper()
		now = now.Add(time.Second)
		id, err := s.Create(t.Context(), Session{User: user, Issuer: issuer}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	others := []string{create("eve", "a"), create("ada", "b")}
	var ids []string
	for range maxOfUser + 3 {
		ids = append(ids, create("ada", "a"))
	}
	for range 2 {
		for i, id := range ids {
			if _, in := s.Get(id); in != (i >= 3) {
				t.Errorf("session %d: signed in %v", i, in)
			}
		}
		for _, id := range others {
			if _, in := s.Get(id); !in {
				t.Error("somebody else's session was ended")
			}
		}
		s = open(t, b, func() time.Time { return now })
	}
}
