package caddymodule

import (
	"bufio"
	"context"
	"errors"
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

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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
	const root, missing = "This is a container registry", "404 page not found"
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
		{"an error", "handle_errors 404 {\nrespond 410\n}\nroot " + files + "\nfile_server", map[string]string{"/x": "410 "}},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := freePort(t)
			load(t, site(port, t.TempDir(), allowAll, row.behind))
			r := at(t, port)
			for path, want := range row.want {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					response, body := r.do(method, path, nil)
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
			r.want(http.StatusUnauthorized, "GET", "/v2/", nil)
			r.want(http.StatusOK, "GET", "/livez", nil)
			r.want(http.StatusNotFound, "GET", "//v2/", nil)
		})
	}
	t.Run("a POST to the root", func(t *testing.T) {
		port := freePort(t)
		load(t, site(port, t.TempDir(), allowAll, ""))
		at(t, port).want(http.StatusMethodNotAllowed, "POST", "/", nil)
	})
}

// A client that waits before it sends a body is answered, and the connection ends.
func TestABodyThatNobodyWantsIsNotWaitedFor(t *testing.T) {
	port := freePort(t)
	load(t, site(port, t.TempDir(), allowAll, ""))
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
		port := freePort(t)
		load(t, site(port, t.TempDir(), allowAll+"\n"+people, behind))
		r := at(t, port)
		if _, body := r.want(http.StatusOK, "GET", "/", nil); !strings.Contains(string(body), want) {
			t.Errorf("with %q behind: got %s, want %q", behind, body, want)
		}
		if _, body := r.want(http.StatusOK, "GET", "/login", nil); !strings.Contains(string(body), "password") {
			t.Errorf("with %q behind: got %s, want the form", behind, body)
		}
	}
}

// errOdd is what a handler of a test fails with.
var errOdd = errors.New("odd")

// behind serves a handler behind the registry. As Caddy does, it answers errOdd with 500.
func behind(t *testing.T, next caddyhttp.HandlerFunc) *httptest.Server {
	t.Helper()
	h := &Handler{app: new(App), Health: "off"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{})
		switch err := h.ServeHTTP(w, r.WithContext(ctx), next); {
		case errors.Is(err, errOdd):
			w.WriteHeader(http.StatusInternalServerError)
		case err != nil:
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// An answer that the next handler has begun counts, also where it calls the end of the chain.
func TestWhatTheNextHandlerBeginsIsTheAnswer(t *testing.T) {
	const notFound = "404 404 page not found. The registry is at /v2/.\n"
	for _, row := range []struct {
		name string
		next func(http.ResponseWriter, *http.Request) error
		end  bool   // the handler calls the end of the chain
		want string // the status and the body
	}{
		{"a header", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}, true, "204 "},
		{"a body", func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, "x")
			return err
		}, true, "200 x"},
		{"a file", func(w http.ResponseWriter, _ *http.Request) error {
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("x"))
			return err
		}, true, "200 x"},
		{"a flush", func(w http.ResponseWriter, _ *http.Request) error {
			return http.NewResponseController(w).Flush()
		}, true, "200 "},
		{"a connection of its own", func(w http.ResponseWriter, _ *http.Request) error {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return err
			}
			_, err = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nmine")
			return errors.Join(err, conn.Close())
		}, true, "202 mine"},
		// None of these is an answer.
		{"a hint", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusEarlyHints)
			return nil
		}, true, notFound},
		{"a field", func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("X-Odd", "yes")
			return nil
		}, true, notFound},
		{"nothing", func(http.ResponseWriter, *http.Request) error { return nil }, true, notFound},
		// Here the chain does not end: a handler has taken the request.
		{"nothing, on purpose", func(http.ResponseWriter, *http.Request) error { return nil }, false, "200 "},
		// Caddy answers an error.
		{"an error", func(http.ResponseWriter, *http.Request) error { return errOdd }, false, "500 "},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := behind(t, func(w http.ResponseWriter, r *http.Request) error {
				if row.end {
					defer caddyhttp.SetVar(r.Context(), unhandledVar, true)
				}
				return row.next(w, r)
			})
			response, err := http.Get(server.URL + "/x")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if got := fmt.Sprintf("%d %s", response.StatusCode, body); err != nil || got != row.want {
				t.Errorf("got %q, %v; want %q", got, err, row.want)
			}
		})
	}
}

// A line that the next handler has flushed arrives while the handler waits.
func TestTheNextHandlerStreams(t *testing.T) {
	received := make(chan struct{})
	server := behind(t, func(w http.ResponseWriter, r *http.Request) error {
		for i := range 2 {
			fmt.Fprintln(w, i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
			select {
			case <-received:
			case <-r.Context().Done():
				return r.Context().Err()
			}
		}
		return nil
	})
	response, err := http.Get(server.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for i := range 2 {
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintln(i) {
			t.Fatalf("got %q, %v", line, err)
		}
		received <- struct{}{}
	}
}
