package identity

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/policies"
)

// clock is a time that only the test moves.
type clock struct{ time.Time }

func (c *clock) now() time.Time          { return c.Time }
func (c *clock) advance(d time.Duration) { c.Time = c.Add(d) }

// machine is a storage that can be stopped and started again.
type machine struct {
	*testing.T
	path   string
	clock  *clock
	bucket bucket.Bucket
	*Store
	stop func()
}

func start(t *testing.T) *machine {
	m := &machine{T: t, path: t.TempDir(), clock: &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}}
	m.run()
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *machine) run() {
	m.Helper()
	storage, err := dir.Open(m.path, dir.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		m.Fatal(err)
	}
	if m.bucket, err = storage.Bucket("identity"); err != nil {
		m.Fatal(err)
	}
	if m.Store, err = Open(context.Background(), m.bucket, Config{Now: m.clock.now}); err != nil {
		m.Fatal(err)
	}
	m.stop = func() {
		if err := errors.Join(m.Store.Close(), storage.Close()); err != nil {
			m.Error(err)
		}
	}
}

func (m *machine) restart() {
	m.Helper()
	m.stop()
	m.run()
}

func (m *machine) makeKey(want NewKey) (string, Key) {
	m.Helper()
	secret, key, err := m.Keys().Create(context.Background(), want)
	if err != nil {
		m.Fatal(err)
	}
	return secret, key
}

var robot = NewKey{User: "zot-ci", Name: "ci", Service: true, Groups: []string{"artifact-workloads"}, By: "command"}

func TestAKeyIsRecognisedByScanners(t *testing.T) {
	pattern := regexp.MustCompile(`^cregk_[0-9A-Za-z]{49}$`)
	seen := map[string]bool{}
	for range 100 {
		secret := newSecret()
		if !pattern.MatchString(secret) || !wellFormed(secret) || seen[secret] {
			t.Fatalf("got %s", secret)
		}
		seen[secret] = true
		for i := len(Prefix); i < len(secret); i++ {
			other := byte('a')
			if secret[i] == other {
				other = 'b'
			}
			if wellFormed(secret[:i] + string(other) + secret[i+1:]) {
				t.Errorf("%s with another character at %d is still well formed", secret, i)
			}
		}
	}
}

func TestAKeyIsItsUsersUntilItsEnd(t *testing.T) {
	m := start(t)
	secret, key := m.makeKey(robot)
	who, err := m.KeyIdentity(secret, nil)
	if err != nil || who.User != "zot-ci" || len(who.Groups) != 1 || who.Groups[0] != "artifact-workloads" || who.Credential != "key "+key.ID {
		t.Errorf("got %+v, %v", who, err)
	}
	if key.Expires.Sub(key.Created) != DefaultLifetime {
		t.Errorf("it lasts %s, want 90 days", key.Expires.Sub(key.Created))
	}
	m.restart()
	if _, err := m.KeyIdentity(secret, nil); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if got, _ := m.Keys().Get(key.ID); !got.Used.Equal(m.clock.Time) {
		t.Errorf("last used %s, want %s", got.Used, m.clock)
	}

	m.clock.advance(DefaultLifetime - Announced - time.Second)
	if key.Expiring(m.clock.Time) {
		t.Error("it is announced more than 14 days before its end")
	}
	m.clock.advance(time.Second)
	if !key.Expiring(m.clock.Time) {
		t.Error("it is not announced 14 days before its end")
	}
	m.clock.advance(Announced)
	_, err = m.KeyIdentity(secret, nil)
	if !errors.Is(err, ErrCredential) || !strings.Contains(err.Error(), `"ci" expired on 2027-02-23`) {
		t.Errorf("at its end: %v", err)
	}
}

// The address of the last use is kept beside its time. A use whose address is not known, or too long
// to be one, leaves it.
func TestAKeyRemembersFromWhereItWasUsed(t *testing.T) {
	m := start(t)
	secret, key := m.makeKey(robot)
	for _, row := range []struct{ address, want string }{
		{"", ""}, {"192.0.2.7", "192.0.2.7"}, {"2001:db8::7", "2001:db8::7"}, {"", "2001:db8::7"},
		{strings.Repeat("7", maxFrom+1), "2001:db8::7"},
	} {
		m.clock.advance(time.Minute)
		if _, err := m.keyIDIdentity(key.ID, nil, row.address); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, _ := m.Keys().Get(key.ID); got.UsedFrom != row.want || !got.Used.Equal(m.clock.Time) {
				t.Errorf("used from %q: got %q at %s, want %q", row.address, got.UsedFrom, got.Used, row.want)
			}
			m.restart()
		}
	}
	if who, err := m.keyIdentity(secret, nil, "192.0.2.8"); err != nil || who.User != "zot-ci" {
		t.Fatal(who, err)
	}
	if got, _ := m.Keys().Get(key.ID); got.UsedFrom != "192.0.2.8" {
		t.Errorf("got %q, want the address of the last use", got.UsedFrom)
	}
}

func TestARevokedKeyIsRefusedAtOnceAndForGood(t *testing.T) {
	m := start(t)
	secret, key := m.makeKey(robot)
	if _, err := m.Keys().Revoke(context.Background(), key.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := m.KeyIdentity(secret, nil)
		if !errors.Is(err, ErrCredential) || !strings.Contains(err.Error(), `"ci" was revoked on 2026-11-25`) {
			t.Errorf("got %v", err)
		}
		if _, err := m.keyIDIdentity(key.ID, nil, ""); !errors.Is(err, ErrCredential) {
			t.Errorf("by its ID: got %v", err)
		}
		m.restart()
	}
	m.clock.advance(time.Hour)
	again, err := m.Keys().Revoke(context.Background(), key.ID)
	if err != nil || again.Revoked.Equal(m.clock.Time) {
		t.Errorf("revoked twice: %v, %v; want the first time to stay", again.Revoked, err)
	}
	if _, err := m.Keys().Revoke(context.Background(), "nothing"); !errors.Is(err, ErrKeyUnknown) {
		t.Errorf("revoke of nothing: %v", err)
	}
}

func TestAPersonsKeyHasThePersonsGroupsOfNow(t *testing.T) {
	m := start(t)
	ctx := context.Background()
	erich := User{Name: "erich", Issuer: "https://idp", Subject: "1", Groups: []string{"admins"}}
	secret, _ := m.makeKey(NewKey{User: "erich", By: "erich"})
	if _, err := m.KeyIdentity(secret, nil); !errors.Is(err, ErrCredential) {
		t.Errorf("before anybody has signed in as erich: %v", err)
	}
	if _, err := m.Users().SignedIn(ctx, erich); err != nil {
		t.Fatal(err)
	}
	groups := func(want string) {
		t.Helper()
		who, err := m.KeyIdentity(secret, nil)
		if got := strings.Join(who.Groups, " "); err != nil || got != want {
			t.Errorf("got groups %q, %v; want %q", got, err, want)
		}
	}
	groups("admins")
	erich.Groups = []string{"readers"}
	if _, err := m.Users().SignedIn(ctx, erich); err != nil {
		t.Fatal(err)
	}
	groups("readers")
	if _, err := m.Users().Update(ctx, "erich", func(u *User) error { u.Groups = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	groups("")
}

func TestADisabledUserIsRefusedWithEveryKey(t *testing.T) {
	m := start(t)
	ctx := context.Background()
	secret, _ := m.makeKey(robot)
	if _, err := m.Users().SetDisabled(ctx, "zot-ci", true); err != nil {
		t.Fatal(err)
	}
	m.restart()
	if _, err := m.KeyIdentity(secret, nil); !errors.Is(err, ErrCredential) || !strings.Contains(err.Error(), "disabled") {
		t.Errorf("disabled: got %v", err)
	}
	// Signing in again does not enable.
	user, err := m.Users().SignedIn(ctx, User{Name: "zot-ci", Issuer: "i", Subject: "s"})
	if err != nil || !user.Disabled {
		t.Errorf("signed in: got %+v, %v", user, err)
	}
	if _, err := m.Users().SetDisabled(ctx, "zot-ci", false); err != nil {
		t.Fatal(err)
	}
	if _, err := m.KeyIdentity(secret, nil); err != nil {
		t.Errorf("enabled again: got %v", err)
	}
}

func TestANameBelongsToWhoHadItFirst(t *testing.T) {
	m := start(t)
	ctx := context.Background()
	if _, err := m.Users().SignedIn(ctx, User{Name: "erich", Issuer: "https://idp", Subject: "1"}); err != nil {
		t.Fatal(err)
	}
	for _, other := range []User{
		{Name: "erich", Issuer: "https://idp", Subject: "2"},
		{Name: "erich", Issuer: "https://other", Subject: "1"},
	} {
		if _, err := m.Users().SignedIn(ctx, other); !errors.Is(err, ErrNameTaken) {
			t.Errorf("%+v: got %v", other, err)
		}
	}
}

func TestWhatCannotBeAKeyIsRefused(t *testing.T) {
	m := start(t)
	for _, row := range []struct {
		name string
		want NewKey
	}{
		{"without a user", NewKey{}},
		{"of a user with a colon", NewKey{User: "a:b"}},
		{"of a user with a line break", NewKey{User: "a\nb"}},
		{"that lasts too long", NewKey{User: "a", Lifetime: DefaultLifetime + 1}},
		{"that has ended", NewKey{User: "a", Lifetime: -1}},
		{"of a person, with groups", NewKey{User: "a", Groups: []string{"admins"}}},
		{"with an empty group", NewKey{User: "a", Service: true, Groups: []string{""}}},
		{"with a long name", NewKey{User: "a", Name: strings.Repeat("x", 101)}},
		{"with a name that is not a text", NewKey{User: "a", Name: "a\x1b[2J"}},
		{"narrowed to an action that there is not", NewKey{User: "a", Actions: []string{"push"}}},
		{"narrowed to an invalid pattern", NewKey{User: "a", Globs: []string{"[a"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, _, err := m.Keys().Create(context.Background(), row.want); !errors.Is(err, ErrKeyInvalid) && !errors.Is(err, ErrUserInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	if keys := m.Keys().List(""); len(keys) != 0 {
		t.Errorf("there are keys: %v", keys)
	}
}

func TestNoSecretLiesOnTheDisk(t *testing.T) {
	m := start(t)
	secret, _ := m.makeKey(robot)
	err := filepath.WalkDir(m.path, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), secret[len(Prefix):]) {
			t.Errorf("%s has the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// One damaged record affects only its own key or user, which is refused. It is named,
// and can be replaced.
func TestADamagedRecordRefusesItselfAlone(t *testing.T) {
	damages := map[string]func([]byte) []byte{
		"flip":           func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"flip the last":  func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut":            func(b []byte) []byte { return b[:len(b)/2] },
		"empty":          func([]byte) []byte { return nil },
		"zeroes":         func(b []byte) []byte { return make([]byte, len(b)) },
		"another's":      func([]byte) []byte { return []byte(`{"id":"x","name":"x","user":"x","hash":"AAAA"}`) },
		"another type's": func([]byte) []byte { return []byte(`[1]`) },
	}
	for name, damage := range damages {
		for _, what := range []string{"key", "user", "use", "from", "announced"} {
			t.Run(what+"/"+name, func(t *testing.T) {
				m := start(t)
				ada := User{Name: "ada", Issuer: "https://id.example", Subject: "1", Groups: []string{"admins"}}
				if _, err := m.Users().SignedIn(t.Context(), ada); err != nil {
					t.Fatal(err)
				}
				good, _ := m.makeKey(robot)
				secret, key := m.makeKey(NewKey{User: "ada", By: "ada"})
				if _, err := m.keyIdentity(secret, nil, "192.0.2.7"); err != nil {
					t.Fatal(err)
				}
				if err := m.keys.note(t.Context(), m.keys.byID[key.ID], key.ID, m.clock.now()); err != nil {
					t.Fatal(err)
				}
				m.stop()
				m.stop = func() {}
				path := filepath.Join(m.path, "identity", "objects", map[string]string{
					"key": "keys/" + key.ID, "user": "users/" + recordName("ada"), "use": "uses/" + key.ID, "from": "from/" + key.ID,
					"announced": "announced/" + key.ID,
				}[what])
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(data), 0o600); err != nil {
					t.Fatal(err)
				}
				m.run()
				if _, err := m.KeyIdentity(good, nil); err != nil {
					t.Errorf("another key: %v", err)
				}
				_, err = m.KeyIdentity(secret, nil)
				refused := what == "key" || what == "user"
				if (err != nil) != refused || err != nil && !errors.Is(err, ErrCredential) {
					t.Errorf("its own key: got %v, refused: want %v", err, refused)
				}
				if _, err = m.keyIDIdentity(key.ID, nil, ""); (err != nil) != refused {
					t.Errorf("its own key by ID: got %v, refused: want %v", err, refused)
				}
				_, err = m.Users().SignedIn(t.Context(), User{Name: "ada", Issuer: "https://evil.example", Subject: "2", Groups: []string{"admins"}})
				if want := map[bool]error{true: ErrUserDamaged, false: ErrNameTaken}[what == "user"]; !errors.Is(err, want) {
					t.Errorf("a sign-in by the name: got %v, want %v", err, want)
				}
				found, err := Examine(t.Context(), m.bucket)
				if err != nil || (len(found) == 1) != refused {
					t.Errorf("Examine says %q, %v", found, err)
				}
				switch what {
				case "key":
					if _, err := m.Keys().Revoke(t.Context(), key.ID); err != nil {
						t.Error(err)
					}
				case "user":
					if user, err := m.Users().SetDisabled(t.Context(), "ada", false); err != nil || len(user.Groups) > 0 {
						t.Errorf("got %+v, %v", user, err)
					}
					if _, err := m.Users().SignedIn(t.Context(), ada); err != nil {
						t.Errorf("once an administrator has started the user anew: %v", err)
					}
				}
				m.restart()
				if found, err := Examine(t.Context(), m.bucket); err != nil || len(found) > 0 {
					t.Errorf("once it was made good Examine says %q, %v", found, err)
				}
			})
		}
	}
}

func BenchmarkKeyIdentity(b *testing.B) {
	storage, err := dir.Open(b.TempDir(), dir.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer storage.Close()
	tree, err := storage.Bucket("identity")
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(context.Background(), tree, Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	secret, _, err := s.Keys().Create(context.Background(), robot)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.KeyIdentity(secret, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestANarrowedKeySaysSoAlsoAfterARestart(t *testing.T) {
	m := start(t)
	narrow := robot
	narrow.Actions, narrow.Globs = []string{"read", "create"}, []string{"blumeops/**"}
	secret, _ := m.makeKey(narrow)
	everything := policies.NewRules(policies.Rule{Actions: policies.Actions})
	for range 2 {
		who, err := m.KeyIdentity(secret, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			action policies.Action
			repo   string
			want   bool
		}{
			{policies.Create, "blumeops/app", true},
			{policies.Update, "blumeops/app", false},
			{policies.Create, "other/app", false},
		} {
			if got := everything.Allows(who, row.action, row.repo); got != row.want {
				t.Errorf("%s in %s: got %v, want %v", row.action, row.repo, got, row.want)
			}
		}
		m.restart()
	}
}
