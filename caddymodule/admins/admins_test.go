package admins

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/policies"
)

const issuer = "https://id.example.org/"

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// rules parses lines of a policy.
func rules(t *testing.T, lines ...string) []policies.Rule {
	t.Helper()
	var parsed []policies.Rule
	for _, line := range lines {
		word, rest, _ := strings.Cut(line, " ")
		rule, err := policies.ParseRule(word == "deny", strings.Fields(rest))
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, rule)
	}
	return parsed
}

func roster(t *testing.T, lines ...string) *Roster {
	t.Helper()
	return &Roster{Policy: policies.NewRules(rules(t, lines...)...), Issuer: issuer, Now: func() time.Time { return now }}
}

// person has signed in and is an admin.
func person(name string, change func(*identity.User)) identity.User {
	user := identity.User{Name: name, Issuer: issuer, Subject: name, Groups: []string{"admins"}, Verified: now}
	if change != nil {
		change(&user)
	}
	return user
}

func TestWhoCounts(t *testing.T) {
	const admins = "allow group admins *"
	local := func(name string, groups ...string) []policies.Identity {
		return []policies.Identity{{User: name, Groups: groups}}
	}
	for _, row := range []struct {
		name   string
		rule   string
		change func(*Roster)
		user   identity.User
		counts bool
	}{
		{"an admin who has just signed in", admins, nil, person("ada", nil), true},
		{"an admin whose groups are 30 days old", admins, nil, person("ada", func(u *identity.User) { u.Verified = now.Add(-recent) }), true},
		{"an admin whose groups are older", admins, nil, person("ada", func(u *identity.User) { u.Verified = now.Add(-recent - time.Second) }), false},
		{"a disabled admin", admins, nil, person("ada", func(u *identity.User) { u.Disabled = true }), false},
		{"somebody who has lost the group", admins, nil, person("ada", func(u *identity.User) { u.Groups = []string{"staff"} }), false},
		{"a name that was only disabled and enabled", admins, nil, person("ada", func(u *identity.User) { u.Issuer, u.Subject = "", "" }), false},
		{"an admin of a provider before this one", admins, nil, person("ada", func(u *identity.User) { u.Issuer = "https://old.example.org/" }), false},
		{"an admin where the provider is gone", admins, func(r *Roster) { r.Issuer = "" }, person("ada", nil), false},
		{"an admin in a group that may sign in", admins, func(r *Roster) { r.Allowed = []string{"staff", "admins"} }, person("ada", nil), true},
		{"an admin whom allowed_groups now keeps out", admins, func(r *Roster) { r.Allowed = []string{"staff"} }, person("ada", nil), false},

		{"a user whom the policy names", "allow user ada admin", nil, person("ada", func(u *identity.User) { u.Groups = nil }), true},
		{"everybody who signs in", "allow signed_in admin", nil, person("ada", func(u *identity.User) { u.Groups = nil }), true},
		{"all actions on a part of the registry", "allow group admins * on team/**", nil, person("ada", nil), false},
		{"all actions but admin", "allow group admins read create update delete", nil, person("ada", nil), false},
		{"the holder of a key", "allow key deploy *", nil, person("ada", nil), false},

		{"a local user", admins, func(r *Roster) { r.Locals, r.Issuer = local("ada", "admins"), "" }, identity.User{}, true},
		{"a local user in another group", admins, func(r *Roster) { r.Locals = local("ada", "staff") }, identity.User{}, false},
		{"a disabled local user", admins, func(r *Roster) { r.Locals = local("ada", "admins") }, identity.User{Name: "ada", Disabled: true}, false},
		{"a local user and a person of one name", admins, func(r *Roster) { r.Locals = local("ada", "admins") }, person("ada", nil), true},
		{"both of them disabled, as both are by name", admins, func(r *Roster) { r.Locals = local("ada", "admins") }, person("ada", func(u *identity.User) { u.Disabled = true }), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := roster(t, row.rule)
			if row.change != nil {
				row.change(r)
			}
			var want []string
			if row.counts {
				want = []string{"ada"}
			}
			if got := r.known([]identity.User{row.user}); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	r := roster(t, "allow group admins *", "deny user ada admin")
	if got := r.known([]identity.User{person("ada", nil), person("bob", nil)}); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("with a rule that denies it to ada: got %q, want bob", got)
	}
}

func TestCheck(t *testing.T) {
	r := roster(t, "allow group admins *")
	stale := person("stale", func(u *identity.User) { u.Verified = now.Add(-2 * recent) })
	out := person("out", func(u *identity.User) { u.Disabled = true })
	common := person("carl", func(u *identity.User) { u.Groups = nil })
	for _, row := range []struct {
		name     string
		users    []identity.User
		by, whom string
		want     error
	}{
		{"oneself", []identity.User{person("ada", nil), person("bob", nil)}, "ada", "ada", ErrSelf},
		{"oneself as the last", []identity.User{person("ada", nil)}, "ada", "ada", ErrSelf},
		{"another of two", []identity.User{person("ada", nil), person("bob", nil)}, "ada", "bob", nil},
		{"somebody who is not an administrator", []identity.User{person("ada", nil), common}, "ada", "carl", nil},
		{"a service account", []identity.User{person("ada", nil)}, "ada", "zot-ci", nil},
		{"the last, by somebody whose groups are old", []identity.User{stale, person("bob", nil)}, "stale", "bob", ErrLast},
		{"the last, by somebody who was disabled meanwhile", []identity.User{out, person("bob", nil)}, "out", "bob", ErrDisabled},
		{"one of two, by somebody who was disabled meanwhile", []identity.User{out, person("ada", nil), person("bob", nil)}, "out", "bob", ErrDisabled},
		{"somebody who does not count where nobody does", []identity.User{stale}, "x", "stale", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := r.Check(row.users, row.by, row.whom); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func open(t *testing.T) *identity.Store {
	t.Helper()
	storage, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storage.Close() })
	bucket, err := storage.Bucket("identity")
	if err != nil {
		t.Fatal(err)
	}
	store, err := identity.Open(t.Context(), bucket, identity.Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// Administrators who disable each other at the same moment are never all out: of two
// exactly one succeeds, and of more the last one stays.
func TestAdministratorsDisableEachOther(t *testing.T) {
	r := roster(t, "allow group admins *")
	for _, names := range [][]string{{"ada", "bob"}, {"ada", "bob", "carl", "dora"}} {
		for range 5 {
			users := open(t).Users()
			for _, name := range names {
				if _, err := users.SignedIn(t.Context(), person(name, nil)); err != nil {
					t.Fatal(err)
				}
			}
			errs := make([]error, len(names))
			start, done := make(chan struct{}), sync.WaitGroup{}
			for i, name := range names {
				done.Go(func() {
					<-start
					_, errs[i] = r.Disable(t.Context(), users, name, names[(i+1)%len(names)])
				})
			}
			close(start)
			done.Wait()
			succeeded := 0
			for _, err := range errs {
				switch {
				case err == nil:
					succeeded++
				case !errors.Is(err, ErrDisabled) && !errors.Is(err, ErrLast):
					t.Fatal(err)
				}
			}
			left := len(r.known(users.List()))
			if left != len(names)-succeeded || left == 0 || len(names) == 2 && succeeded != 1 {
				t.Fatalf("of %d administrators %d succeeded and %d are left", len(names), succeeded, left)
			}
		}
	}
}

func TestTookLast(t *testing.T) {
	r := roster(t, "allow group admins *")
	users := open(t).Users()
	var took []bool
	users.Watch(func(change identity.UserChange) { took = append(took, r.TookLast(change)) })
	signIn := func(name string, groups ...string) func() error {
		return func() error {
			_, err := users.SignedIn(t.Context(), person(name, func(u *identity.User) { u.Groups = groups }))
			return err
		}
	}
	setDisabled := func(name string, disabled bool) func() error {
		return func() error { _, err := users.SetDisabled(t.Context(), name, disabled); return err }
	}
	for i, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"the first sign-in, of somebody else", signIn("carl"), false},
		{"an administrator", signIn("ada", "admins"), false},
		{"another", signIn("bob", "admins"), false},
		{"one of two leaves the group", signIn("bob", "staff"), false},
		{"the last leaves the group", signIn("ada", "staff"), true},
		{"and signs in again without it", signIn("ada"), false},
		{"and with it", signIn("ada", "admins"), false},
		{"the command disables the last", setDisabled("ada", true), true},
		{"and enables them", setDisabled("ada", false), false},
		{"and disables a service account", setDisabled("zot-ci", true), false},
		{"a refresh that the provider refuses", func() error {
			_, err := users.Update(t.Context(), "ada", func(u *identity.User) error { u.Groups = nil; return nil })
			return err
		}, true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if len(took) != i+1 || took[i] != step.want {
			t.Fatalf("%s: got %v, want %v at the end", step.name, took, step.want)
		}
	}
}

func TestMissing(t *testing.T) {
	const admins = "allow group admins *"
	common := []identity.User{person("carl", func(u *identity.User) { u.Groups = nil })}
	local := []policies.Identity{{User: "erich", Groups: []string{"staff"}}}
	for _, row := range []struct {
		name   string
		lines  []string
		issuer string
		locals []policies.Identity
		users  []identity.User
		want   bool
	}{
		{"people have signed in, and none is in the group", []string{admins}, issuer, nil, common, true},
		{"an administrator is there", []string{admins}, issuer, nil, append(common, person("ada", nil)), false},
		{"a local user is in another group", []string{admins}, "", local, nil, true},
		{"nobody has signed in yet", []string{admins}, issuer, nil, nil, false},
		{"a service account was disabled, and nobody has signed in", []string{admins}, issuer, nil, []identity.User{{Name: "zot-ci", Disabled: true}}, false},
		{"nobody can sign in at all", []string{admins}, "", nil, common, false},
		{"no rule gives admin", []string{"allow signed_in read create"}, issuer, nil, common, false},
		{"a rule gives it to a key", []string{"allow key deploy *"}, issuer, nil, common, false},
		{"a rule gives it on a part, which is nothing", []string{"allow group admins * on team/**"}, issuer, nil, common, false},
		{"a rule denies it", []string{"deny signed_in admin"}, issuer, nil, common, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := roster(t, row.lines...)
			r.Issuer, r.Locals = row.issuer, row.locals
			if got := r.Missing(rules(t, row.lines...), row.users); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}
