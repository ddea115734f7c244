package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// A path that is not the registry's is answered by what the site has behind the registry,
// or else by a page or a 404 that says something.
func TestTheNextHandlerIsAskedFirst(t *testing.T) {
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "file.txt"), []byte("of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/empty" {
			w.WriteHeader(http.StatusOK)
			return
		}
		fmt.Fprint(w, "of a proxy")
	}))
	t.Cleanup(upstream.Close)
	const root, missing = "<!doctype html>", "404 page not found"
	for _, row := range []struct {
		name, behind string
		want         map[string]string // by path: the status, and what the body begins with
	}{
		{"nothing", "",
			map[string]string{"/": "200 " + root, "/x": "404 " + missing, "/v1/": "404 " + missing}},
		{"an answer", `respond "of the site"`, map[string]string{"/": "200 of the site", "/x": "200 of the site"}},
		{"an answer without a body", "respond 204", map[string]string{"/": "204 ", "/x": "204 "}},
		{"an answer to another path", `respond /y "of the site"`,
			map[string]string{"/": "200 " + root, "/x": "404 " + missing, "/y": "200 of the site"}},
		{"files", "root " + files + "\nfile_server",
			map[string]string{"/": "404 ", "/x": "404 ", "/file.txt": "200 of a file"}},
		{"files, or what is next", "root " + files + "\nfile_server {\npass_thru\n}",
			map[string]string{"/": "200 " + root, "/x": "404 " + missing, "/file.txt": "200 of a file"}},
		{"a proxy", "reverse_proxy " + upstream.URL,
			map[string]string{"/": "200 of a proxy", "/x": "200 of a proxy", "/empty": "200 "}},
		{"an error", "handle_errors 404 {\nrespond 410\n}\nroot " + files + "\nfile_server",
			map[string]string{"/x": "410 "}},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := registrytest.FreePort(t)
			r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, row.behind)
			for path, want := range row.want {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					response, body := r.Do(method, path, nil)
					got := fmt.Sprintf("%d %s", response.StatusCode, body)
					right := strings.HasPrefix(got, want)
					if method == http.MethodHead || want == "204 " {
						right = got == want[:len("204 ")] // without a body
					}
					if !right {
						t.Errorf("%s %s: got %q, want %q", method, path, got, want)
					}
					if strings.HasSuffix(want, missing) && response.Header.Get("X-Content-Type-Options") != "nosniff" {
						t.Errorf("%s %s: the answer is not protected: %v", method, path, response.Header)
					}
				}
			}
			r.Want(http.StatusUnauthorized, "GET", "/v2/", nil)
			r.Want(http.StatusOK, "GET", "/livez", nil)
			r.Want(http.StatusNotFound, "GET", "//v2/", nil)
		})
	}
	t.Run("a POST to the root", func(t *testing.T) {
		port := registrytest.FreePort(t)
		registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
		registrytest.At(t, port).Want(http.StatusMethodNotAllowed, "POST", "/", nil)
	})
}

// A client that waits before it sends a body is answered, and the connection ends.
func TestABodyThatNobodyWantsIsNotWaitedFor(t *testing.T) {
	port := registrytest.FreePort(t)
	registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll, "")
	for path, want := range map[string]string{"/": "405", "/x": "404"} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", path)
		answer, err := io.ReadAll(conn) // until the registry ends the connection
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+want) {
			t.Errorf("%s: got %q and %v, want %s", path, answer, err, want)
		}
	}
}

// Where people sign in, the root is the site's if the site has one, and else the home page.
// The sign-in is the registry's in any case.
func TestTheRootWithASignIn(t *testing.T) {
	const people = "local_user erich $2a$10$wW9KqB2NBVqLDrRRNDyN3OTz4tQpSXqiT1P4vbvNXl3u/EHoFxHe2 admins"
	for behind, want := range map[string]string{"": "You are not signed in", `respond "of the site"`: "of the site"} {
		port := registrytest.FreePort(t)
		r := registrytest.Serve(t, port, t.TempDir(), registrytest.AllowAll+"\n"+people, behind)
		if _, body := r.Want(http.StatusOK, "GET", "/", nil); !strings.Contains(string(body), want) {
			t.Errorf("with %q behind: got %s, want %q", behind, body, want)
		}
		if _, body := r.Want(http.StatusOK, "GET", "/login", nil); !strings.Contains(string(body), "password") {
			t.Errorf("with %q behind: got %s, want the form", behind, body)
		}
	}
}
