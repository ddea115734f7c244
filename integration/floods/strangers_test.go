package floods

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answerLimit bounds the wait for an answer that must come at once: a server that waits
// for the rest of the body never gives it.
const answerLimit = time.Minute

func basic(user, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
}

func secretOf(f *flood, user, group string) string {
	f.t.Helper()
	secret, _ := f.Key(f.t, user, group)
	return secret
}

// pipeline sends n requests over each of width connections, many at a time, and reads
// their answers, which have no bodies. It is the cheapest way to send very many requests.
func (f *flood) pipeline(width, n int, request func(conn, i int) string) {
	f.t.Helper()
	const atATime = 100
	f.together(width, width, func(c int) error {
		conn, err := net.Dial("tcp", f.Host)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		answers := bufio.NewReader(conn)
		for i := 0; i < n; i += atATime {
			var b strings.Builder
			for k := i; k < min(i+atATime, n); k++ {
				b.WriteString(request(c, k))
			}
			if _, err := io.WriteString(conn, b.String()); err != nil {
				return err
			}
			for range min(atATime, n-i) {
				answer, err := http.ReadResponse(answers, &http.Request{Method: http.MethodHead})
				if err != nil {
					return err
				}
				if answer.StatusCode != http.StatusNotFound {
					return fmt.Errorf("status %s, want 404", answer.Status)
				}
			}
		}
		return nil
	})
}

// TestRequestsForMissingContent: the server remembers nothing about a requested digest that
// does not exist, for any caller and any length of the name.
func TestRequestsForMissingContent(t *testing.T) {
	name := strings.Repeat("a23456789/", 20) + "app" // within the 255 bytes of a name, with a host before it
	for _, row := range []struct{ name, path, key string }{
		{"anonymous", "blobs", ""},
		{"create-only, manifests", "manifests", "ci"},
		{"create-only", "blobs", "ci"},
		{"anonymous, manifests", "manifests", ""},
	}[:count(2, 4)] {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, "", "")
			fields := ""
			if row.key != "" {
				fields = "Authorization: Basic " + basic("ci", secretOf(f, "ci", row.key)) + "\r\n"
			}
			f.pipeline(8, count(15000, 40000), func(c, i int) string {
				return fmt.Sprintf("HEAD /v2/%s/%s/sha512:%0128x HTTP/1.1\r\nHost: %s\r\n%s\r\n", name, row.path, c<<32|i, f.Host, fields)
			})
			f.bounded()
		})
	}
}

// TestIndexesOfAbsentChildren: an index may be pushed before its children. Children that were
// never pushed are not remembered.
func TestIndexesOfAbsentChildren(t *testing.T) {
	for _, row := range []struct {
		name     string
		children int
		indexes  int
		want     int
	}{
		{"as many as are allowed", 9990, count(50, 120), http.StatusCreated},
		{"more than are allowed", 24000, count(30, 120), http.StatusBadRequest},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, "", "")
			ci := f.ci()
			f.together(row.indexes, 4, func(i int) error {
				index := indexOf(i, row.children, 0)
				err := ci.PutManifest(f.ctx, "team/app", fmt.Sprintf("t%d", i), indexType, index)
				return wantStatus(err, http.StatusCreated, row.want)
			})
			f.bounded()
		})
	}
}
