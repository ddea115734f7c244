package floods

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// unsent is how much of each body never comes, in bytes.
const unsent = 10

// TestBodiesOfStrangersAreNotRead: a caller that may not write is refused before the first byte
// of the body, in every way that a body can be announced.
func TestBodiesOfStrangersAreNotRead(t *testing.T) {
	f := start(t, "", mirrorOf(bombUpstream(t), ""))
	reader := "Authorization: Basic " + basic("nobody", secretOf(f, "nobody", "none")) + "\r\n"
	wrong := "Authorization: Basic " + basic("ada", "wrong") + "\r\n"
	d := digest.FromString("x").String()
	length := "Content-Length: 4194304\r\n"
	rows := []struct{ name, request, fields string }{
		{"manifest", "PUT /v2/team/app/manifests/t", length},
		{"manifest by digest", "PUT /v2/team/app/manifests/" + d, length},
		{"manifest of unknown length", "PUT /v2/team/app/manifests/t", "Transfer-Encoding: chunked\r\n"},
		{"manifest too large", "PUT /v2/team/app/manifests/t", "Content-Length: 4294967296\r\n"},
		{"manifest as nothing", "PUT /v2/team/app/manifests/t?tag=a&tag=b", length},
		{"manifest for a mirror", "PUT /v2/up.example/team/app/manifests/t", length},
		{"manifest for no name", "PUT /v2/Team/App/manifests/t", length},
		{"manifest of another registry", "PUT /v2/team/app/manifests/t?ns=ghcr.io", length},
		{"blob in one request", "POST /v2/team/app/blobs/uploads/?digest=" + d, length},
		{"start of an upload", "POST /v2/team/app/blobs/uploads/", length},
		{"piece of an upload", "PATCH /v2/team/app/blobs/uploads/aaaa-bbbb", length},
		{"end of an upload", "PUT /v2/team/app/blobs/uploads/aaaa-bbbb?digest=" + d, length},
		{"deletion with a body", "DELETE /v2/team/app/manifests/t", length},
		{"blob deletion with a body", "DELETE /v2/team/app/blobs/" + d, length},
		{"read of a manifest with a body", "GET /v2/team/app/manifests/t", length},
		{"catalog with a body", "GET /v2/_catalog", length},
		{"a method that is none", "POST /v2/team/app/manifests/t", length},
		{"no route", "PUT /v2/team/app/x", length},
	}
	callers := []struct{ name, fields string }{{"anonymous", ""}, {"read only", reader}, {"wrong key", wrong}}
	// All at once: each answer may wait a moment for the body.
	n := len(rows) * len(callers)
	f.together(n, n, func(i int) error {
		row, caller := rows[i/len(callers)], callers[i%len(callers)]
		conn, err := f.send(row.request, row.fields+caller.fields)
		if err != nil {
			return err
		}
		defer conn.Close()
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		switch {
		case err != nil:
			return fmt.Errorf("%s, %s: no answer without its body: %v", row.name, caller.name, err)
		case !strings.HasPrefix(row.request, "GET") && answer.StatusCode < 400:
			return fmt.Errorf("%s, %s: status %s", row.name, caller.name, answer.Status)
		}
		return nil
	})
	f.bounded()
}

// TestManyBodiesOfStrangers: all of them but ten bytes, from anonymous callers at once,
// also where a body is read because it may hold credentials.
func TestManyBodiesOfStrangers(t *testing.T) {
	for _, row := range []struct{ name, request, fields string }{
		{"manifests", "PUT /v2/team/app/manifests/t", "Content-Type: " + imageType + "\r\n"},
		{"tokens", "POST /token", "Content-Type: application/x-www-form-urlencoded\r\n"},
		{"passwords", "POST /login", "Content-Type: application/x-www-form-urlencoded\r\n"},
		{"keys", "POST /api/keys", "Content-Type: application/json\r\n"},
		{"sign-outs", "POST /oidc/backchannel-logout", "Content-Type: application/x-www-form-urlencoded\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, "", "")
			body := []byte(strings.Repeat("a", largest-unsent))
			n := count(60, 200)
			conns := make([]net.Conn, n)
			for i := range conns {
				conn, err := f.send(row.request, fmt.Sprintf("Content-Length: %d\r\n", largest)+row.fields)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conns[i] = conn
			}
			// The server may have closed its end, or reads until it has had enough.
			f.together(n, n, func(i int) error {
				conns[i].SetWriteDeadline(time.Now().Add(10 * time.Second))
				conns[i].Write(body)
				return nil
			})
			f.bounded()
		})
	}
}

// send opens a connection and sends the head of a request. What comes back has until
// answerLimit.
func (f *flood) send(request, fields string) (net.Conn, error) {
	conn, err := net.Dial("tcp", f.Host)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(answerLimit))
	_, err = io.WriteString(conn, request+" HTTP/1.1\r\nHost: "+f.Host+"\r\n"+fields+"\r\n")
	return conn, err
}
