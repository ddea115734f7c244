package demo

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Refusals are sentences, whatever answers at the address.
func TestPushIsRefusedWithASentence(t *testing.T) {
	denied := `{"errors":[{"code":"DENIED","message":"create is not allowed in demo/hello"}]}`
	for _, row := range []struct {
		name         string
		head, status int
		body, want   string
	}{
		{"the registry says why", http.StatusNotFound, http.StatusForbidden, denied, "refused the push to demo/hello: create is not allowed in demo/hello"},
		{"a HEAD has no body", http.StatusUnauthorized, 0, "", "refused the key with 401 Unauthorized; does the running registry have this configuration?"},
		{"another server", http.StatusOK, 0, "", "answers without a digest: is it a registry?"},
		{"another server that takes everything", http.StatusNotFound, http.StatusOK, "hello", "answers, but is not a registry"},
		{"a proxy without its registry", http.StatusBadGateway, 0, "", "refused the push to demo/hello with 502 Bad Gateway"},
		{"a redirect is not followed", http.StatusFound, 0, "", "with 302 Found"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("%s %s: the key is not sent", r.Method, r.URL)
				}
				if r.Method == http.MethodHead {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(row.head)
					return
				}
				w.WriteHeader(row.status)
				io.WriteString(w, row.body)
			}))
			defer server.Close()
			base, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			plan := &Plan{Base: base, Dial: base.Host, Rights: Rights{Repository: "demo/hello"}}
			if _, _, err := plan.Push(t.Context(), "secret"); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	base, err := url.Parse(gone.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = (&Plan{Base: base, Dial: base.Host}).Push(context.Background(), "secret")
	if err == nil || strings.Count(err.Error(), "http://") != 1 || !strings.HasPrefix(err.Error(), "push to "+gone.URL+": ") {
		t.Errorf("nobody listens: got %v", err)
	}
}
