package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/policies"
)

// Revoking a key takes two steps. The first one changes nothing, however often it is
// taken, and neither does going back to it afterwards.
func TestRevokingAsksFirst(t *testing.T) {
	b := newBrowser(t)
	b.fake.Claims["groups"] = []string{"users"}
	keys := b.site.Identity.Keys()
	_, other, err := keys.Create(t.Context(), identity.NewKey{User: "bob", Service: true, Name: "not ada's", By: "command"})
	if err != nil {
		t.Fatal(err)
	}
	b.want(http.StatusSeeOther, "GET", "/user/apikey/revoke?id="+other.ID, nil) // to sign in
	b.signIn(http.StatusSeeOther)
	b.makes(url.Values{"days": {"90"}, "name": {"<b>ci"}})
	id := keys.List("ada")[0].ID
	active := func() bool { key, _ := keys.Get(id); return key.Active(time.Now()) }

	for _, path := range []string{"/user", "/user/"} {
		if response, _ := b.want(http.StatusFound, "GET", path, nil); response.Header.Get("Location") != "/user/apikey" {
			t.Errorf("%s leads to %q", path, response.Header.Get("Location"))
		}
	}
	ask := "/user/apikey/revoke?id=" + id
	if _, page := b.want(http.StatusOK, "GET", "/user/apikey", nil); !strings.Contains(page, `href="`+ask+`"`) {
		t.Errorf("the page of the keys does not lead to the question:\n%s", page)
	}
	// The form of a page that did not ask leads to the question.
	response, _ := b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"revoke"}, "id": {id}})
	if got := response.Header.Get("Location"); got != ask {
		t.Errorf("without the answer the form leads to %s, want %s", got, ask)
	}
	b.want(http.StatusMethodNotAllowed, "POST", ask, url.Values{"sure": {"yes"}})
	for range 2 {
		_, page := b.want(http.StatusOK, "GET", ask, nil)
		for _, want := range []string{"&lt;b&gt;ci", id, "refused from the next request on", `name="sure" value="yes"`} {
			if !strings.Contains(page, want) {
				t.Errorf("the question lacks %q:\n%s", want, page)
			}
		}
	}
	yes := url.Values{"do": {"revoke"}, "id": {id}, "sure": {"yes"}}
	b.want(http.StatusForbidden, "POST", "/user/apikey", yes, "Sec-Fetch-Site", "cross-site")
	if !active() {
		t.Fatal("the key was revoked before anybody said yes")
	}
	b.want(http.StatusSeeOther, "POST", "/user/apikey", yes)
	if active() {
		t.Error("the key was not revoked")
	}
	if _, page := b.want(http.StatusOK, "GET", ask, nil); !strings.Contains(page, "It was revoked on") || strings.Contains(page, "<button") {
		t.Errorf("going back to the question shows:\n%s", page)
	}
	// The page does not reveal whether others have such a key.
	for _, id := range []string{other.ID, "none", ""} {
		b.want(http.StatusForbidden, "GET", "/user/apikey/revoke?id="+id, nil)
	}
}

func TestDisablingAsksFirst(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	users := b.site.Identity.Users()
	if _, err := users.SignedIn(t.Context(), identity.User{Name: "bob", Issuer: b.fake.Issuer, Subject: "2"}); err != nil {
		t.Fatal(err)
	}
	_, key, err := b.site.Identity.Keys().Create(t.Context(), identity.NewKey{User: "bob", Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	disabled := func() bool { bob, _ := users.Get("bob"); return bob.Disabled }
	const ask = "/user/apikey/disable?user=bob"
	_, page := b.want(http.StatusOK, "GET", "/admin/users", nil)
	if !strings.Contains(page, `href="`+ask+`"`) || strings.Contains(page, "disable?user=ada") {
		t.Errorf("the page offers to disable ada herself, or not to disable bob:\n%s", page)
	}
	response, _ := b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"disable"}, "user": {"bob"}})
	if got := response.Header.Get("Location"); got != ask {
		t.Errorf("without the answer the form leads to %s, want %s", got, ask)
	}
	_, page = b.want(http.StatusOK, "GET", ask, nil)
	for _, want := range []string{"<strong>bob</strong>", "laptop", key.ID, "every credential"} {
		if !strings.Contains(page, want) {
			t.Errorf("the question lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "Is the name right") {
		t.Error("the question doubts that there is bob")
	}
	if disabled() {
		t.Fatal("bob was disabled before anybody said yes")
	}
	b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"disable"}, "user": {"bob"}, "sure": {"yes"}})
	if !disabled() {
		t.Error("bob was not disabled")
	}
	if _, page := b.want(http.StatusOK, "GET", ask, nil); !strings.Contains(page, "is disabled") || strings.Contains(page, "<button") {
		t.Errorf("going back to the question shows:\n%s", page)
	}
	if _, page := b.want(http.StatusOK, "GET", "/user/apikey/disable?user=bbo", nil); !strings.Contains(page, "Is the name right") {
		t.Errorf("a name that nobody has is not doubted:\n%s", page)
	}
	b.want(http.StatusBadRequest, "GET", "/user/apikey/disable", nil)

	b.fake.Claims["groups"] = []string{"users"}
	b.signIn(http.StatusSeeOther)
	b.want(http.StatusForbidden, "GET", ask, nil)
}

// The pages never disable their own user, or the last administrator who counts.
func TestThePagesLockNobodyOut(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	refused := func(who, want string) {
		t.Helper()
		for method, form := range map[string]url.Values{
			"GET":  nil,
			"POST": {"do": {"disable"}, "user": {who}, "sure": {"yes"}},
		} {
			path := map[string]string{"GET": "/user/apikey/disable?user=" + who, "POST": "/user/apikey"}[method]
			_, page := b.want(http.StatusConflict, method, path, form)
			if !strings.Contains(page, want) || !strings.Contains(page, "registry user disable") {
				t.Errorf("%s %s says:\n%s", method, who, page)
			}
		}
		if user, _ := b.site.Identity.Users().Get(who); user.Disabled {
			t.Errorf("%s is disabled", who)
		}
	}
	refused("ada", "You cannot disable yourself")
	// Groups that ada has by a session of long ago do not make her count.
	b.site.Admins.Locals = []policies.Identity{{User: "erich", Groups: []string{"admins"}}}
	b.site.Admins.Issuer = "https://the.next.example/"
	refused("erich", "last administrator")
	b.site.Admins.Issuer = b.fake.Issuer
	b.want(http.StatusSeeOther, "POST", "/user/apikey", url.Values{"do": {"disable"}, "user": {"erich"}, "sure": {"yes"}})
	if erich, _ := b.site.Identity.Users().Get("erich"); !erich.Disabled {
		t.Error("erich is not disabled, although ada counts")
	}
}

// A user that acts at the provider as another person learns how to keep that.
func TestTheSignInSaysWhatItEnds(t *testing.T) {
	b := newBrowser(t)
	b.signIn(http.StatusSeeOther)
	const hint = "an impersonation that is active there may end"
	if _, page := b.want(http.StatusOK, "GET", "/login?other=1", nil); !strings.Contains(page, hint) || !strings.Contains(page, `href="/logout"`) {
		t.Errorf("signing in as somebody else says:\n%s", page)
	}
	if _, page := b.want(http.StatusOK, "GET", "/login", nil); strings.Contains(page, hint) {
		t.Error("an ordinary sign-in warns, too")
	}
	if _, page := b.want(http.StatusOK, "POST", "/logout", nil); !strings.Contains(page, `<a href="/login">Sign in</a> as that account`) {
		t.Errorf("after signing out the page says:\n%s", page)
	}
}
