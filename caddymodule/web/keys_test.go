package web

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// The list says of each key what tells it from others: its ID, what it may, with which groups, and
// until when.
func TestTheListTellsKeysApart(t *testing.T) {
	b := newBrowser(t)
	b.fake.Claims["groups"] = []string{"users", "<i>builders"}
	b.signIn(http.StatusSeeOther)
	if _, page := b.want(http.StatusOK, "GET", "/user/apikey", nil); !strings.Contains(page, "You have no key") ||
		strings.Contains(page, "<table") || strings.Contains(page, "/admin/") {
		t.Errorf("without a key the page is:\n%s", page)
	}
	make := func(want identity.NewKey) identity.Key {
		_, key, err := b.site.Identity.Keys().Create(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	full := make(identity.NewKey{User: "ada", Name: "full"})
	narrow := make(identity.NewKey{User: "ada", Name: "narrow", Actions: []string{"read", "create"},
		Globs: []string{"team/**"}})
	soon := make(identity.NewKey{User: "ada", Name: "soon", Lifetime: 90 * time.Minute})
	gone := make(identity.NewKey{User: "ada", Name: "gone"})
	if _, err := b.site.Identity.Keys().Revoke(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	make(identity.NewKey{User: "bob", Name: "of bob", Service: true})
	_, page := b.want(http.StatusOK, "GET", "/user/apikey", nil)
	row := func(key identity.Key) string {
		_, after, _ := strings.Cut(page, `data-key="`+key.ID+`"`)
		row, _, _ := strings.Cut(after, "</tr>")
		return row
	}
	for _, want := range []struct {
		key   identity.Key
		texts []string
	}{
		{full, []string{">active<", full.ID, "everything that ada may", "&lt;i&gt;builders, users", "90 days left",
			full.Expires.Format(time.DateOnly), `<rect width="100.0"`, "never"}},
		{narrow, []string{">narrowed<", "only read, create on team/**"}},
		{soon, []string{">expires soon<", "2 hours left", `<rect width="0.1"`, `fill="var(--warn)"`}},
		{gone, []string{">revoked<", "revoked on " + time.Now().UTC().Format(time.DateOnly)}},
	} {
		for _, text := range want.texts {
			if !strings.Contains(row(want.key), text) {
				t.Errorf("the row of %s lacks %q:\n%s", want.key.Name, text, row(want.key))
			}
		}
	}
	if strings.Contains(row(full), "narrowed") || strings.Contains(row(gone), "/revoke") ||
		strings.Contains(page, "of bob") {
		t.Errorf("a full key looks narrowed, a revoked one revocable, or bob's key is here:\n%s", page)
	}
	if strings.Index(page, gone.ID) < strings.Index(page, full.ID) {
		t.Error("a key that has ended stands before valid ones")
	}
	for _, path := range []string{"/admin/keys", "/admin/keys?user=ada", "/admin/users"} {
		b.want(http.StatusForbidden, "GET", path, nil)
	}
}

var nextPage = regexp.MustCompile(`<a href="([^"]*)" rel="next">`)

// Lists of administrators have no more than 50 rows, and a next page until everything was shown.
func TestAdministratorsPageThroughAllKeys(t *testing.T) {
	b := newBrowser(t)
	response, _ := b.want(http.StatusSeeOther, "GET", "/admin/keys", nil)
	if got := response.Header.Get("Location"); got != "/login?return=%2Fadmin%2Fkeys" {
		t.Errorf("a visitor is sent to %s", got)
	}
	b.signIn(http.StatusSeeOther)
	const users, each = 21, 6
	for i := range users * each {
		want := identity.NewKey{User: fmt.Sprintf("robot %d", i%users), Service: true, Name: fmt.Sprint("key ", i)}
		if _, _, err := b.site.Identity.Keys().Create(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	walk := func(path, row, next string) (rows []string) {
		for range 10 {
			_, page := b.want(http.StatusOK, "GET", path, nil)
			found := strings.Split(page, row)[1:]
			if len(found) > maxRows {
				t.Fatalf("%s has %d rows", path, len(found))
			}
			for _, one := range found {
				name, _, _ := strings.Cut(one, next)
				rows = append(rows, name)
			}
			found = nextPage.FindStringSubmatch(page)
			if found == nil {
				return rows
			}
			path = html.UnescapeString(found[1])
		}
		t.Fatal("the pages have no end")
		return nil
	}
	ids := walk("/admin/keys", `data-key="`, `"`)
	all := len(ids)
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != users*each || all != len(ids) {
		t.Errorf("the pages have %d keys, %d of them different; want %d", all, len(ids), users*each)
	}
	_, page := b.want(http.StatusOK, "GET", "/admin/keys?user=robot+7", nil)
	if got := strings.Count(page, "data-key="); got != each || !strings.Contains(page, `value="robot 7"`) {
		t.Errorf("robot 7 has %d keys, want %d", got, each)
	}
	_, page = b.want(http.StatusOK, "GET", "/admin/keys?user=none", nil)
	if !strings.Contains(page, "No key is of a user “none”") {
		t.Errorf("the keys of nobody are:\n%s", page)
	}

	for i := range 60 {
		if _, err := b.site.Identity.Users().SetDisabled(t.Context(), fmt.Sprintf("user %02d", i), true); err != nil {
			t.Fatal(err)
		}
	}
	names := walk("/admin/users", `<tr><td><span class="name">`, "<")
	if len(names) != 61 || names[0] != "ada" || !slices.IsSorted(names) {
		t.Errorf("the pages have the users %v", names)
	}
}

// A new key is shown to its maker alone, and to nobody who brings another's cookie.
func TestANewKeyIsShownToItsMaker(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	response, _ := b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"make"}, "days": {"7"}})
	cookie := response.Cookies()[0]
	if !cookie.HttpOnly || cookie.MaxAge > int(madeLifetime/time.Second) || cookie.Value == "" ||
		strings.Contains(cookie.Value, "cregk") {
		t.Errorf("the key is brought by %v", cookie)
	}
	b.want(http.StatusOK, "HEAD", "/user/apikey/made", nil) // does not use it up
	b.fake.Claims["preferred_username"], b.fake.Claims["sub"] = "bob", "2"
	b.signIn(http.StatusSeeOther)
	if _, page := b.want(http.StatusOK, "GET", "/user/apikey/made", nil); strings.Contains(page, "cregk_") {
		t.Errorf("bob sees the key of ada:\n%s", page)
	}
}

func TestHowLongAKeyShallLast(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	for until, want := range map[string]string{day(0): day(1), day(10): day(11), day(90): day(90)} {
		b.makes(url.Values{"days": {"date"}, "until": {until}})
		key := b.site.Identity.Keys().Active("ada")[0] // the others are revoked
		if key.Expires.Add(time.Second).Format(time.DateOnly) != want {
			t.Errorf("until %s: it ends at %s, want the beginning of %s", until, key.Expires, want)
		}
		if _, err := b.site.Identity.Keys().Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, form := range []url.Values{
		{"days": {"date"}}, {"days": {"date"}, "until": {day(-1)}}, {"days": {"date"}, "until": {day(92)}},
		{"days": {"date"}, "until": {"31.1.2027"}}, {"days": {"30"}, "until": {day(3)}}, {"days": {""}}, {"days": {"0"}},
	} {
		form.Set("do", "make")
		form.Set("name", "kept <as> it was")
		form.Set("globs", "team/**")
		form["action"] = []string{"create"}
		_, page := b.want(http.StatusBadRequest, "POST", "/user/apikey", form)
		for _, want := range []string{`role="alert"`, `value="kept &lt;as&gt; it was"`, `value="team/**"`,
			`value="create" checked`, "<details open>"} {
			if !strings.Contains(page, want) {
				t.Errorf("%v: the form lacks %q:\n%s", form, want, page)
			}
		}
	}
	_, page := b.want(http.StatusOK, "GET", "/user/apikey/new", nil)
	if !strings.Contains(page, `value="90" checked`) || !strings.Contains(page, `max="`+day(90)+`"`) {
		t.Errorf("the form is:\n%s", page)
	}
	b.site.Identity.Keys().SetMaxLifetime(10 * 24 * time.Hour)
	_, page = b.want(http.StatusOK, "GET", "/user/apikey/new", nil)
	if !strings.Contains(page, `value="10" checked`) || strings.Contains(page, `value="30"`) {
		t.Errorf("with keys of at most 10 days the form is:\n%s", page)
	}
}

// The lines are right for any user name, and for sites with and without TLS. A shell runs them, with
// functions in place of the clients.
func TestTheLinesForClients(t *testing.T) {
	const secret = "cregk_0123456789"
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"ada", "ädä ☃", `o'neil "$HOME" \n %s`, "-x", "a;b"} {
		for _, plain := range []bool{false, true} {
			for _, one := range clients("registry.example:5000", plain, user, secret) {
				for _, step := range one.Steps {
					if !strings.HasPrefix(step.Copy, "read ") {
						continue
					}
					script := `got() { printf '%s\0' "$@"; cat; }; docker() { got "$@"; }; podman() { got "$@"; }
						skopeo() { got "$@"; }; op() { got "$@"; }` + "\n" + step.Copy
					cmd := exec.Command(bash, "-c", script)
					cmd.Stdin = strings.NewReader(secret + "\n")
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%s: %v: %s\n%s", one.Name, err, out, step.Copy)
					}
					got := strings.Split(string(out), "\x00")
					want := []string{"login", "--username", user, "--password-stdin", "registry.example:5000", secret}
					if plain && one.Name != "docker" {
						want = slices.Insert(want, 1, "--tls-verify=false")
					}
					if one.Name == "1Password" {
						want = []string{"item", "create", "-", `{"title":` + quoted("registry.example 5000 "+user) +
							`,"category":"API_CREDENTIAL","fields":[` +
							`{"id":"username","type":"STRING","label":"username","value":` + quoted(user) + `},` +
							`{"id":"credential","type":"CONCEALED","label":"credential","value":"` + secret + `"}]}`}
					}
					if !slices.Equal(got, want) {
						t.Errorf("%s: got %q, want %q from\n%s", one.Name, got, want, step.Copy)
					}
					if strings.Contains(step.Copy, secret) {
						t.Errorf("%s: the key would get into the history: %s", one.Name, step.Copy)
					}
				}
			}
		}
	}
	text := func(host string, plain bool, name string) (all string) {
		for _, one := range clients(host, plain, "ada", secret) {
			if one.Name == name {
				for _, step := range one.Steps {
					all += step.Copy + "\n"
				}
			}
		}
		return all
	}
	want := "mirrors:\n  \"r.lan:5050\":\n    endpoint:\n      - \"http://r.lan:5050\"\n" +
		"configs:\n  \"r.lan:5050\":\n    auth:\n" +
		"      username: \"ada\"\n      password: \"" + secret + "\"\n"
	if got := text("r.lan:5050", true, "k3s"); got != want {
		t.Errorf("k3s over plain HTTP gets\n%s", got)
	}
	if got := text("r.lan", false, "k3s"); strings.Contains(got, "mirrors") || strings.Contains(got, "http:") {
		t.Errorf("k3s over HTTPS gets\n%s", got)
	}
	for host, want := range map[string]bool{"r.lan:5050": true, "localhost:5050": false, "127.0.0.1:5050": false,
		"[::1]:5050": false} {
		if got := strings.Contains(text(host, true, "docker"), "insecure-registries"); got != want {
			t.Errorf("%s over plain HTTP is to be added to Docker's insecure registries: %v, want %v", host, got, want)
		}
	}
	for _, name := range []string{"docker", "podman", "skopeo", "k3s", "Forgejo", "GitHub", "1Password"} {
		got := text("r.lan", false, name)
		if got == "" || strings.Contains(got, "tls-verify") || strings.Contains(got, "http://") {
			t.Errorf("%s over HTTPS gets\n%s", name, got)
		}
	}
}

// Where a key was last used is for its owner and administrators. A key that asks about itself may be
// stolen, and does not learn where its owner works.
func TestAKeyDoesNotLearnFromWhereItIsUsed(t *testing.T) {
	key := identity.Key{ID: "0123456789ab", UsedFrom: "192.0.2.7"}
	if got := shown(key, asked{}).UsedFrom; got != key.UsedFrom {
		t.Errorf("its owner sees %q", got)
	}
	if got := shown(key, asked{key: true}).UsedFrom; got != "" {
		t.Errorf("the key sees %q", got)
	}
}
