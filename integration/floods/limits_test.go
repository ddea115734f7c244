package floods

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	// mostKeys and mostUploads are the limits of the configuration below.
	mostKeys, mostUploads = 50, 100
	// password is ada's, and hash the output of `hash-password` for it.
	password = "the door is open"
	hash     = "$2a$10$td7NJWShfKFAh3.3RspxRe.u70t/6rWt15oFqsOwi/FiA0MzmLp9i"
)

var limits = fmt.Sprintf("limits {\n uploads %d\n keys %d\n}", mostUploads, mostKeys)

// TestKeysOfOnePerson: a person without any right makes keys until there are enough.
func TestKeysOfOnePerson(t *testing.T) {
	f := start(t, "", limits+"\nlocal_user ada "+hash+"\nlocal_user bob "+hash+"\n")
	for _, user := range []string{"ada", "bob"} { // one has no less for the other
		person := f.signedIn(user)
		defer person.CloseIdleConnections()
		var made, refused atomic.Int64
		f.together(count(200, 12500), 16, func(int) error {
			response, err := person.Post(f.URL+"/api/keys", "application/json", strings.NewReader(`{"name":"one more"}`))
			if err != nil {
				return err
			}
			defer response.Body.Close()
			switch response.StatusCode {
			case http.StatusCreated:
				made.Add(1)
			case http.StatusForbidden:
				refused.Add(1)
			default:
				return fmt.Errorf("status %s", response.Status)
			}
			return nil
		})
		if made.Load() != mostKeys {
			t.Errorf("%s made %d keys and was refused %d, want %d made", user, made.Load(), refused.Load(), mostKeys)
		}
	}
	f.bounded()
}

// signedIn is a browser in which a user has signed in with a password.
func (f *flood) signedIn(user string) *http.Client {
	f.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	person := server.Client(patience)
	person.Jar = jar
	person.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := person.PostForm(f.URL+"/login", url.Values{"username": {user}, "password": {password}, "return": {"/"}})
	if err != nil {
		f.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusSeeOther {
		f.t.Fatalf("sign-in of %s: status %s", user, response.Status)
	}
	return person
}

// TestUploadsOfOneKey: unfinished uploads are bounded for each caller.
func TestUploadsOfOneKey(t *testing.T) {
	f := start(t, "", limits)
	for _, user := range []string{"one", "two"} {
		secret, _ := f.Key(t, user, "ci")
		c := client.New(f.URL).Login(user, secret)
		defer c.Close()
		var begun, refused atomic.Int64
		f.together(count(400, 69000), 16, func(i int) error {
			status, err := f.ask(c, http.MethodPost, fmt.Sprintf("/v2/team/app%d/blobs/uploads/", i%7), "", nil)
			switch status {
			case http.StatusAccepted:
				begun.Add(1)
			case http.StatusTooManyRequests:
				refused.Add(1)
			default:
				err = fmt.Errorf("status %d, %v", status, err)
			}
			return err
		})
		if begun.Load() != mostUploads {
			t.Errorf("%s began %d uploads and was refused %d, want %d begun", user, begun.Load(), refused.Load(), mostUploads)
		}
	}
	f.bounded()
}
