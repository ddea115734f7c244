package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

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
