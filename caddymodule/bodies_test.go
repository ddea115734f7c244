package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/registrytest"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// headOnly sends the header of a request that announces a body, and nothing of it, and
// returns the answer and whether the connection ended with it.
func headOnly(r *registrytest.Registry, method, path string, fields ...string) (response *http.Response, ended bool) {
	r.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.Base, "http://"))
	if err != nil {
		r.Error(err)
		return nil, false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(registrytest.Patience / 2)) // before Caddy's own minute without progress
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: registry\r\n%s\r\n\r\n", method, path, strings.Join(fields, "\r\n"))
	buffered := bufio.NewReader(conn)
	response, err = http.ReadResponse(buffered, &http.Request{Method: method})
	if err != nil {
		r.Errorf("%s %s %q: no answer: %v", method, path, fields, err)
		return nil, false
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	_, err = buffered.ReadByte()
	return response, err == io.EOF
}

// Nobody without the right to write has a body read: the answer comes without it, whatever
// the body's length, and whether or not the client waits for leave to send it.
func TestNoBodyIsReadOfThoseWhoMayNotWrite(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	port, lan := registrytest.FreePort(t), registrytest.FreePort(t)
	text := registrytest.Caddyfile(port, t.TempDir(), "private blumeops/**\nmirror mirrored.test {\nupstream "+up.URL+`
		}
		policy {
			allow anonymous read fetch
			allow user ada *
		}`, "")
	text += fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\toci_registry {\n\t\tread_only\n\t}\n}\n", lan)
	registrytest.Load(t, text)
	digest := "sha256:" + strings.Repeat("0", 64)
	var asked sync.WaitGroup // at once: an answer may take a moment
	ask := func(r *registrytest.Registry, method, path string) {
		for _, fields := range [][]string{
			{"Content-Length: 6"},
			{"Content-Length: 200000"},
			{"Content-Length: 4194304"},
			{"Content-Length: 50000000", "Expect: 100-continue"},
			{"Content-Length: 6", "Expect: 100-continue", "Content-Type: application/vnd.oci.image.manifest.v1+json"},
			{"Transfer-Encoding: chunked"},
		} {
			asked.Go(func() {
				response, ended := headOnly(r, method, path, fields...)
				if response == nil || response.StatusCode < 400 && method != "GET" || !ended {
					t.Errorf("%s %s%s %q: got %v, connection ended: %v; want a refusal and the end", method, r.Base,
						path, fields, response, ended)
				}
			})
		}
	}
	for _, r := range []*registrytest.Registry{registrytest.At(t, port), registrytest.At(t, lan)} {
		for _, repo := range []string{"blumeops/x", "nobody/claims/this", "mirrored.test/library/x", "UPPER"} {
			for _, request := range [][2]string{
				{"PUT", "/manifests/v1"},
				{"PUT", "/manifests/" + digest + "?tag=a"},
				{"POST", "/blobs/uploads/"},
				{"POST", "/blobs/uploads/?digest=" + digest},
				{"POST", "/blobs/uploads/?mount=" + digest + "&from=blumeops/y"},
				{"PATCH", "/blobs/uploads/0123456789abcdef-01234567"},
				{"PUT", "/blobs/uploads/0123456789abcdef-01234567?digest=" + digest},
				{"DELETE", "/manifests/v1"},
				{"DELETE", "/blobs/" + digest},
				{"GET", "/manifests/none"},
				{"PUT", "/no/endpoint"},
			} {
				ask(r, request[0], "/v2/"+repo+request[1])
			}
		}
		ask(r, "GET", "/v2/_catalog")
		ask(r, "GET", "/v2")
		ask(r, "DELETE", "/token")
		asked.Wait()
	}
}
