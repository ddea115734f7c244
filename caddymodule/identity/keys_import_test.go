package identity

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"
)

const zotKey = "zak_2bb9220d438b4c2fbaed8dc895894a16"

func fromZot(m *machine) ImportedKey {
	return ImportedKey{
		Hash:  sha256.Sum256([]byte(strings.TrimPrefix(zotKey, "zak_"))),
		Owner: "eblume", Name: "forgejo", Groups: []string{"artifact-workloads"},
		Created: m.clock.Add(-time.Hour), Expires: m.clock.Add(30 * 24 * time.Hour),
	}
}

// A key of zot goes on working until its end, with the groups that it is given.
func TestAnImportedKey(t *testing.T) {
	m := start(t)
	chain := chainWith(m, nil)
	if kind := chain.recognize(credential(zotKey)).kind; kind != unknown {
		t.Error("a key of zot is known although none was imported")
	}
	key, err := m.Keys().Import(t.Context(), fromZot(m))
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"now", "after a restart"} {
		who, err := present(t, chainWith(m, nil), credential(zotKey))
		if err != nil || who.User != "zot:eblume" || strings.Join(who.Groups, " ") != "artifact-workloads" || who.Key.ID != key.ID || who.Key.Label != "" {
			t.Errorf("%s: the key is %+v, %v", when, who, err)
		}
		m.restart()
	}
	for _, other := range []string{"zak_" + strings.Repeat("0", 32), zotKey + "0", strings.ToUpper(zotKey), "zak_", zotKey[4:]} {
		if who, err := present(t, chainWith(m, nil), credential(other)); err == nil {
			t.Errorf("%s is %+v", other, who)
		}
	}
	m.clock.advance(31 * 24 * time.Hour)
	var refused *KeyRefused
	if _, err := m.KeyIdentity(zotKey, nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), `"forgejo" expired on`) {
		t.Errorf("after its end: %v", err)
	}
}

func TestAKeyIsImportedOnce(t *testing.T) {
	for name, end := range map[string]func(m *machine, id string) error{
		"it works still":  func(*machine, string) error { return nil },
		"it was revoked":  func(m *machine, id string) error { _, err := m.Keys().Revoke(t.Context(), id); return err },
		"it has expired":  func(m *machine, _ string) error { m.clock.advance(40 * 24 * time.Hour); return nil },
		"it is forgotten": func(m *machine, id string) error { return m.Keys().records.remove(t.Context(), id) },
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t)
			want := fromZot(m)
			key, err := m.Keys().Import(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			if err := end(m, key.ID); err != nil {
				t.Fatal(err)
			}
			m.restart()
			before, _ := m.Keys().Get(key.ID)
			want.Expires, want.Groups = time.Time{}, []string{"admins"}
			if _, err := m.Keys().Import(t.Context(), want); !errors.Is(err, ErrKeyImported) {
				t.Errorf("imported again: %v", err)
			}
			after, _ := m.Keys().Get(key.ID)
			if !after.Expires.Equal(before.Expires) || len(after.Groups) != len(before.Groups) || !after.Revoked.Equal(before.Revoked) {
				t.Errorf("the key was %+v and is %+v", before, after)
			}
		})
	}
}

// A key that never expires there lasts as long as a new one here, and one whose end is far
// does, too.
// An import that was killed before it noted the key: the next one does not make another, and notes it.
func TestTheImportOfAKeyIsCutOff(t *testing.T) {
	m := start(t)
	key, err := m.Keys().Import(t.Context(), fromZot(m))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Keys().bucket.Delete(t.Context(), importedMarks+key.ID); err != nil {
		t.Fatal(err)
	}
	m.restart()
	for _, when := range []string{"after the kill", "when the key is forgotten"} {
		if _, err := m.Keys().Import(t.Context(), fromZot(m)); !errors.Is(err, ErrKeyImported) {
			t.Errorf("%s: %v", when, err)
		}
		if err := m.Keys().records.remove(t.Context(), key.ID); err != nil && when == "after the kill" {
			t.Fatal(err)
		}
		m.restart()
	}
}

func TestAnImportedKeyLastsAsLongAsANewOneAtMost(t *testing.T) {
	m := start(t)
	for name, expires := range map[string]time.Time{"never": {}, "far": m.clock.Add(1000 * 24 * time.Hour), "near": m.clock.Add(time.Hour)} {
		want := fromZot(m)
		want.Hash = sha256.Sum256([]byte(name))
		want.Name, want.Expires = name, expires
		key, err := m.Keys().Import(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		end := m.clock.Add(DefaultLifetime)
		if name == "near" {
			end = expires
		}
		if !key.Expires.Equal(end) {
			t.Errorf("%s: it ends at %s, want %s", name, key.Expires, end)
		}
	}
	want := fromZot(m)
	want.Expires = m.clock.Add(-time.Hour)
	if _, err := m.Keys().Import(t.Context(), want); !errors.Is(err, ErrKeyInvalid) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired key: %v", err)
	}
}

// A key has the groups that the import gives it, whatever its label and owner are.
func TestAnImportedKeyHasNoRightsByItsNames(t *testing.T) {
	m := start(t)
	if _, err := m.Users().SignedIn(t.Context(), User{Name: "admin", Issuer: "https://idp", Subject: "1", Groups: []string{"admins"}}); err != nil {
		t.Fatal(err)
	}
	want := fromZot(m)
	want.Owner, want.Name, want.Groups = "admin", "admins", nil
	if _, err := m.Keys().Import(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	who, err := m.KeyIdentity(zotKey, nil)
	if err != nil || who.User == "admin" || len(who.Groups) > 0 || who.Key.Label != "" {
		t.Errorf("the key is %+v, %v", who, err)
	}
	for _, bad := range []ImportedKey{
		{Owner: "", Name: "x"}, {Owner: "a\nb", Name: "x"}, {Owner: "a", Name: "x\x00"}, {Owner: "a", Name: "x", Groups: []string{" "}},
		{Owner: strings.Repeat("a", 300), Name: "x"}, {Owner: "a", Name: strings.Repeat("x", 101)},
	} {
		bad.Hash = sha256.Sum256([]byte("another"))
		if key, err := m.Keys().Import(t.Context(), bad); err == nil {
			t.Errorf("%+v was imported as %+v", bad, key)
		}
	}
}
