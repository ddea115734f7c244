package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core"
)

// comparer stands for bcrypt: a hash is its password behind a mark.
type comparer struct {
	sync.Mutex
	hashes []string // that were compared
	before func()   // nil: nothing
}

func (c *comparer) compare(hash, password []byte) error {
	c.Lock()
	c.hashes = append(c.hashes, string(hash))
	c.Unlock()
	if c.before != nil {
		c.before()
	}
	if string(hash) != "hash of "+string(password) {
		return bcrypt.ErrMismatchedHashAndPassword
	}
	return nil
}

func (c *comparer) made() []string {
	c.Lock()
	defer c.Unlock()
	made := c.hashes
	c.hashes = nil
	return made
}

func locals(now func() time.Time, users ...LocalUser) (*Locals, *comparer) {
	l, c := NewLocals(users, NewPasswords(now)), new(comparer)
	l.passwords.compare = c.compare
	return l, c
}

var (
	erich = LocalUser{"erich", "hash of correct horse", []string{"admins"}}
	ada   = LocalUser{"ada", "hash of battery staple", nil}
)

func password(user, secret, address string) Credential {
	c := Credential{Place: AtToken, Address: address, Host: "registry.example.org"}
	c.SetBasic(user, secret)
	return c
}

func TestAPasswordIsComparedOnceADay(t *testing.T) {
	clock := &clock{time.Now()}
	l, c := locals(clock.now, erich, ada)
	try := func(user, secret string) bool {
		t.Helper()
		who, err := l.authenticate(t.Context(), password(user, secret, "a"))
		if err != nil && !errors.Is(err, ErrUnknownKind) {
			t.Fatal(err)
		}
		return err == nil && who.User == user
	}
	for _, row := range []struct {
		name, user, secret string
		wait               time.Duration
		right              bool
		compared           int
	}{
		{"the password", "erich", "correct horse", 0, true, 1},
		{"again", "erich", "correct horse", 24*time.Hour - time.Second, true, 0},
		{"after a day", "erich", "correct horse", time.Second, true, 1},
		{"that of somebody else", "ada", "correct horse", 0, false, 1},
		{"a wrong one", "erich", "wrong", 0, false, 1},
		{"the same wrong one", "erich", "wrong", 0, false, 0},
		{"of nobody", "nobody", "correct horse", 0, false, 1},
		{"of nobody, again", "nobody", "correct horse", 0, false, 0},
		{"a name in other letters", "Erich", "correct horse", 0, false, 1},
		{"longer than bcrypt reads", "erich", strings.Repeat("x", 73), 0, false, 0},
	} {
		clock.advance(row.wait)
		if got := try(row.user, row.secret); got != row.right {
			t.Errorf("%s: got %v, want %v", row.name, got, row.right)
		}
		if got := len(c.made()); got != row.compared {
			t.Errorf("%s: compared %d times, want %d", row.name, got, row.compared)
		}
	}
}

// The cost of comparing an unknown name must not reveal that it is unknown: it gets the
// hash of one of the users, and keeps it.
func TestAnUnknownNameCostsWhatAKnownOneDoes(t *testing.T) {
	l, c := locals(nil, erich, ada)
	used := map[string]int{}
	for i := range 50 {
		name, hashes := fmt.Sprint("nobody", i), map[string]bool{}
		for j := range 3 {
			l.authenticate(t.Context(), password(name, fmt.Sprint("guess", j), "a"))
			for _, hash := range c.made() {
				hashes[hash] = true
				used[hash]++
			}
		}
		if len(hashes) != 1 {
			t.Errorf("%s was compared with %d hashes, want always one", name, len(hashes))
		}
	}
	if len(used) != 2 {
		t.Errorf("unknown names were compared with %v, want some with each hash", used)
	}
}

// The right password of the user whose hash stands in for an unknown name does not sign
// in.
func TestNobodyIsSignedInByAStandIn(t *testing.T) {
	l, _ := locals(nil, erich)
	if who, err := l.authenticate(t.Context(), password("nobody", "correct horse", "a")); !errors.Is(err, ErrUnknownKind) {
		t.Errorf("got %v, %v", who, err)
	}
}

// Behind one address all have the same password: the first comparison serves the rest.
func TestACrowdWithOnePasswordIsComparedOnce(t *testing.T) {
	l, c := locals(nil, erich)
	var done sync.WaitGroup
	for range 100 {
		done.Go(func() {
			if _, err := l.authenticate(context.Background(), password("erich", "correct horse", "nat")); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if got := len(c.made()); got != 1 {
		t.Errorf("compared %d times, want once", got)
	}
}

func TestCheckPasswordHash(t *testing.T) {
	const salt = "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde"
	for _, row := range []struct{ name, hash, want string }{
		{"bcrypt", "$2a$10$" + salt, ""},
		{"as caddy makes it", "$2a$14$" + salt, ""},
		{"of others", "$2y$12$" + salt, ""},
		{"too fast", "$2a$04$" + salt, "cost 4"},
		{"too slow", "$2a$15$" + salt, "cost 15"},
		{"argon2id", "$argon2id$v=19$m=47104,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", "not a bcrypt hash"},
		{"a password", "correct horse battery staple", "not a bcrypt hash"},
		{"one that is cut off", "$2a$10$abc", "not a bcrypt hash"},
		{"nothing", "", "not a bcrypt hash"},
	} {
		err := CheckPasswordHash(row.hash)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
		if err != nil && row.hash != "" && strings.Contains(err.Error(), row.hash) {
			t.Errorf("%s: the error repeats what may be a password", row.name)
		}
	}
}

// chainWith is a chain over a storage, with local users.
func chainWith(m *machine, l *Locals) *Chain {
	m.Helper()
	tokens, err := token.Open(context.Background(), m.bucket, nil, m.clock.now)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { tokens.Close() })
	return &Chain{Store: m.Store, Tokens: tokens, Locals: l}
}

// present presents a credential at a site with HTTPS.
func present(t *testing.T, chain *Chain, credential Credential) (Proven, error) {
	return (&Gate{Chain: chain}).Admit(t.Context(), credential, nil, Connection{HTTPS: true}, nil)
}

// The kind of a credential is decided before it is verified, and depends on where it is
// presented: passwords are accepted only at /token and on the login page.
func TestWhereAPasswordIsTaken(t *testing.T) {
	m := start(t)
	l, c := locals(m.clock.now, erich)
	chain := chainWith(m, l)
	key, _ := m.makeKey(NewKey{User: "erich", Service: true, Groups: []string{"ci"}, By: "command"})
	_, claims, err := chain.Issue("registry.example.org", Proven{})
	if err != nil {
		t.Fatal(err)
	}
	foreign := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://elsewhere"}`)) + ".c2ln"
	ours := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+claims.Issuer+`"}`)) + ".c2ln"
	for _, row := range []struct {
		name     string
		place    Place
		user     string
		secret   string
		bearer   bool
		method   string
		ok       bool
		compared int
	}{
		{"a password at /token", AtToken, "erich", "correct horse", false, "local_user", true, 1},
		{"a password on the login page", AtLogin, "erich", "correct horse", false, "local_user", true, 0},
		{"a wrong password", AtToken, "erich", "guessed", false, "local_user", false, 1},
		{"of nobody", AtToken, "nobody", "guessed", false, "unknown", false, 1},
		{"without a name", AtToken, "", "guessed", false, "unknown", false, 1},
		{"a password below /v2/", AtRegistry, "erich", "correct horse", false, "unknown", false, 0},
		{"a password as Bearer", AtToken, "erich", "correct horse", true, "unknown", false, 0},
		{"a key of the same name", AtToken, "erich", key, false, "api_key", true, 0},
		{"that key below /v2/", AtRegistry, "erich", key, false, "api_key", true, 0},
		{"a key on the login page", AtLogin, "erich", key, false, "local_user", false, 1},
		{"an invalid key", AtToken, "erich", Prefix + "x", false, "api_key", false, 0},
		{"a forged token of ours", AtToken, "erich", ours, false, "registry_token", false, 0},
		{"a token of an untrusted issuer", AtToken, "erich", foreign, false, "local_user", false, 1},
	} {
		credential := password(row.user, row.secret, row.name) // delays are another test's
		credential.Place, credential.Bearer = row.place, row.bearer
		who, err := present(t, chain, credential)
		if who.Method != row.method {
			t.Errorf("%s: got kind %s, want %s", row.name, who.Method, row.method)
		}
		if (err == nil) != row.ok || err != nil && !errors.Is(err, ErrCredential) {
			t.Errorf("%s: got %v, %v; want ok: %v", row.name, who, err, row.ok)
		}
		if err != nil && strings.Contains(err.Error(), row.secret) {
			t.Errorf("%s: the error repeats the secret", row.name)
		}
		if got := len(c.made()); got != row.compared {
			t.Errorf("%s: compared %d times, want %d", row.name, got, row.compared)
		}
		if told := err != nil && strings.Contains(err.Error(), "/token"); told != (row.name == "a password below /v2/") {
			t.Errorf("%s: got %v", row.name, err)
		}
	}
}

// A token that was issued for a password is valid as long as its line in the
// configuration.
func TestWhatALineGivesEndsWithIt(t *testing.T) {
	m := start(t)
	chain := chainWith(m, nil)
	chain.Locals, _ = locals(m.clock.now, erich)
	who, err := present(t, chain, password("erich", "correct horse", "a"))
	if err != nil {
		t.Fatal(err)
	}
	raw, claims, err := chain.Issue("registry.example.org", who)
	if err != nil {
		t.Fatal(err)
	}
	if got := claims.Expires - claims.IssuedAt; got != 5*60 || len(claims.Groups) > 0 {
		t.Errorf("got a token for %d s with groups %v, want one for 300 s that is looked up", got, claims.Groups)
	}
	key, _ := m.makeKey(NewKey{User: "erich", Local: true, By: "erich"})

	moved, hashed, disabled := erich, erich, erich
	moved.Groups = []string{"others"}
	hashed.Hash = "hash of another"
	for _, row := range []struct {
		name       string
		users      []LocalUser
		token, key string // a group, "" for refused
	}{
		{"the line", []LocalUser{erich}, "admins", "admins"},
		{"other groups", []LocalUser{moved}, "others", "others"},
		{"another password", []LocalUser{hashed}, "", "admins"},
		{"no line", []LocalUser{ada}, "", ""},
		{"no local users", nil, "", ""},
		{"an admin's no", []LocalUser{disabled}, "", ""},
	} {
		chain.Locals = NewLocals(row.users, nil)
		if _, err := m.Users().SetDisabled(t.Context(), "erich", row.name == "an admin's no"); err != nil {
			t.Fatal(err)
		}
		for secret, want := range map[string]string{raw: row.token, key: row.key} {
			credential := Credential{Host: "registry.example.org"}
			credential.setSecret(secret)
			who, err := present(t, chain, credential)
			got := strings.Join(who.Groups, " ")
			if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, ErrCredential) {
				t.Errorf("%s: %.6s…: got groups %q, %v; want %q", row.name, secret, got, err, want)
			}
		}
	}
	m.restart() // and the key is on the disk as it is
	chain.Store = m.Store
	chain.Locals = NewLocals([]LocalUser{erich}, nil)
	m.Users().SetDisabled(t.Context(), "erich", false)
	if who, err := m.KeyIdentity(key, chain.Locals); err != nil || len(who.Groups) != 1 {
		t.Errorf("after a restart: got %v, %v", who, err)
	}
}

// The name at Docker Hub may be that of a local user.
func TestPasswordsAtASiteWithAFallback(t *testing.T) {
	m := start(t)
	chain := chainWith(m, nil)
	chain.Locals, _ = locals(m.clock.now, erich)
	for _, readOnly := range []bool{false, true} {
		gate := &Gate{Chain: chain, ReadOnly: readOnly,
			FallbackOnly: func(name string) bool { return strings.HasPrefix(name, "library/") }}
		for _, user := range []string{"erich", "nobody"} {
			for range 20 {
				if who, err := gate.Admit(t.Context(), password(user, "hub-password", "a"), nil, Connection{HTTPS: true}, []string{"library/nginx"}); err != nil || !who.Anonymous() {
					t.Fatalf("%s, read_only %v: got %v, %v", user, readOnly, who, err)
				}
			}
			if _, err := gate.Admit(t.Context(), password(user, "hub-password", "a"), nil, Connection{HTTPS: true}, nil); !errors.Is(err, core.ErrUnauthorized) {
				t.Errorf("%s, read_only %v: a login got %v", user, readOnly, err)
			}
		}
	}
}

// Only the name and the password in an Authorization field make the caller a local
// user.
func FuzzLocalUser(f *testing.F) {
	odd := LocalUser{"ädä ☃", "hash of pass:word", nil}
	l, _ := locals(nil, erich, odd)
	for _, text := range []string{"erich:correct horse", "ädä ☃:pass:word", ":", "erich:", ":correct horse", "erich\x00:correct horse", "\xff:x"} {
		f.Add(text, uint8(AtToken))
	}
	f.Fuzz(func(t *testing.T, text string, place uint8) {
		r := &http.Request{Header: http.Header{"Authorization": {"Basic " + encoded(text)}}}
		c, err := ReadCredential(r, Place(place%3))
		if err != nil || !c.takesPassword() {
			return
		}
		_, err = l.authenticate(t.Context(), c)
		if right := text == "erich:correct horse" || text == odd.Name+":pass:word"; right != (err == nil) {
			t.Errorf("%q: got %v", text, err)
		}
	})
}

func BenchmarkPasswordRemembered(b *testing.B) {
	l, _ := locals(nil, erich)
	c := password("erich", "correct horse", "a")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.authenticate(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
