package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/identity"
)

func TestALoginIsNewsOnceADay(t *testing.T) {
	now := time.Now()
	l := newLogins(func() time.Time { return now })
	one := login{"erich", "key 1", "192.0.2.1"}
	for _, row := range []struct {
		name string
		login
		wait time.Duration
		news bool
	}{
		{"the first time", one, 0, true},
		{"at once again", one, 0, false},
		{"from elsewhere", login{"erich", "key 1", "192.0.2.2"}, 0, true},
		{"by another key", login{"erich", "key 2", "192.0.2.1"}, 0, true},
		{"by somebody else", login{"ada", "key 1", "192.0.2.1"}, 0, true},
		{"within the day", one, loginAgain - time.Second, false},
		{"a day after it was told", one, time.Second, true},
	} {
		now = now.Add(row.wait)
		if got := l.news(row.login); got != row.news {
			t.Errorf("%s: got %v, want %v", row.name, got, row.news)
		}
	}
	for i := range 3 * maxLogins {
		l.news(login{address: fmt.Sprint(i)})
	}
	if l.told.Len() > maxLogins {
		t.Errorf("%d are remembered, want %d at most", l.told.Len(), maxLogins)
	}
}

// What a person who reads the log wants to know: who came, by what and from where; not
// each pull.
func TestLoginsAreTold(t *testing.T) {
	port := freePort(t)
	load(t, strings.Replace(site(port, t.TempDir(), localPolicy+"local_user erich "+testHash()+" admins", ""), "admin off", `admin off
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	events {
		on * oci_test
	}`, 1))
	r := at(t, port)
	secret, key := robot(t)
	other, otherKey, err := running(t).store.Keys().Create(t.Context(), identity.NewKey{User: "other", Service: true, By: "command"})
	if err != nil {
		t.Fatal(err)
	}
	wantHeard(t, "keys", []string{auditKeyMade}, []string{auditKeyMade})
	const pull = "/token?scope=repository:team/app:pull"
	get := func(path, authorization string, fields ...string) []byte {
		t.Helper()
		_, body := r.want(http.StatusOK, "GET", path, nil, append(fields, "Authorization", authorization)...)
		return body
	}
	by := basic("zot-ci", secret)

	bearer := "Bearer " + tokenOf(t, get(pull, by))
	wantHeard(t, "the first pull of a key", []string{auditLogin, "user:zot-ci", "credential:key " + key.ID, "address:127.0.0.1", "method:api_key", "at:/token"})
	for range 3 {
		get(pull, by)
		get("/v2/", bearer)
		get("/v2/_catalog", by)
	}
	wantHeard(t, "more pulls")
	get("/token?service=x&client_id=docker", by)
	wantHeard(t, "docker login", []string{auditLogin, "at:/token"})
	get("/v2/", "Bearer "+other)
	wantHeard(t, "curl with a bare key", []string{auditLogin, "user:other", "credential:key " + otherKey.ID, "at:/v2/"})
	far := []string{"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https"}
	get("/v2/_catalog", bearer, far...)
	get("/v2/_catalog", bearer, far...)
	wantHeard(t, "a token that is used elsewhere", []string{auditLogin, "user:zot-ci", "address:192.0.2.7", "method:registry_token"})

	get(pull, basic("erich", testPassword))
	get(pull, basic("erich", testPassword))
	wantHeard(t, "a password for pulls", []string{auditLogin, "user:erich", "credential:local_user ", "method:local_user"})

	// Nobody, and a caller who is refused, has not logged in.
	r.want(http.StatusOK, "GET", pull, nil)
	r.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic("erich", "wrong"))
	r.want(http.StatusUnauthorized, "GET", "/v2/", nil)
	wantHeard(t, "nobody", []string{auditLoginRefused})
	load(t, site(port, t.TempDir(), "", "")) // the next test hears its own
}

func BenchmarkLoginThatIsNoNews(b *testing.B) {
	l, one := newLogins(nil), login{"zot-ci", "key 0123456789ab", "192.0.2.1"}
	l.news(one)
	b.ReportAllocs()
	for b.Loop() {
		l.news(one)
	}
}
