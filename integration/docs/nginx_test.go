package docs

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/integration/server"
)

// fromPage is the first block of a language on docs/do/behind-another-proxy.md, in which each
// key of replace, which must be there, has been replaced.
func fromPage(t *testing.T, language string, replace map[string]string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "behind-another-proxy.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$").FindSubmatch(page)
	if block == nil {
		t.Fatalf("the page has no block of %s", language)
	}
	text := string(block[1])
	for from, to := range replace {
		if !strings.Contains(text, from) {
			t.Fatalf("the page's block of %s lacks %q", language, from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// nginx serves the block of docs/do/behind-another-proxy.md in front of a registry, and
// returns its address and a client that trusts its certificate.
func nginx(t *testing.T, s *server.Server) (string, *http.Client) {
	t.Helper()
	program := server.Tool(t, "nginx")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	dir := t.TempDir()
	certified := httptest.NewTLSServer(nil) // for its certificate and key
	defer certified.Close()
	key, err := x509.MarshalPKCS8PrivateKey(certified.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	config := "http {\naccess_log off;\n" + fromPage(t, "nginx", map[string]string{
		"listen 443 ssl": "listen " + address + " ssl", "127.0.0.1:5050": s.Host, "/etc/nginx/": dir + "/",
	})
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config += name + "_temp_path " + filepath.Join(dir, name) + ";\n"
	}
	main := "daemon off;\nmaster_process off;\nerror_log stderr;\nevents {}\npid " + filepath.Join(dir, "pid") + ";\n"
	config = main + config + "}\n"
	for name, text := range map[string][]byte{
		"nginx.conf":   []byte(config),
		"registry.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw}),
		"registry.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // the status is that of a kill
		if t.Failed() {
			t.Logf("nginx: %s", &said)
		}
	})
	client := certified.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	err = server.Eventually(limit, func() (bool, error) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + address, client
}

// Behind nginx, with the configuration of the page, clients find the token endpoint, push large
// layers with a key, and get a refusal at once.
func TestBehindNginx(t *testing.T) {
	s := server.Start(t, server.Options{Caddyfile: fromPage(t, "caddyfile", map[string]string{
		"url https://registry.example.org": `storage file {$REGISTRY_DATA}
		policy {
			allow anonymous read fetch
			allow group admins *
		}`,
		"http://:5050": "http://:{$REGISTRY_PORT}", "bind 127.0.0.1 192.0.2.20": "bind 127.0.0.1",
	})})
	base, client := nginx(t, s)
	key, _ := s.Key(t, "me", "admins")
	do := func(method, url string, body io.Reader, authorized bool) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url, body)
		if err != nil {
			t.Fatal(err)
		}
		if authorized {
			r.SetBasicAuth("me", key)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	response := do("GET", base+"/v2/", nil, false)
	if got := response.Header.Get("Www-Authenticate"); !strings.Contains(got, `realm="`+base+`/token"`) {
		t.Errorf("got the challenge %q, want one with %s/token", got, base)
	}
	if response := do("GET", base+"/v2/", nil, true); response.StatusCode != http.StatusOK {
		t.Errorf("with a key: got %s", response.Status)
	}
	layer := make([]byte, 3<<20) // more than nginx accepts by default
	if _, err := rand.Read(layer); err != nil {
		t.Fatal(err)
	}
	push := fmt.Sprintf("%s/v2/team/app/blobs/uploads/?digest=%s", base, digest.FromBytes(layer))
	if response := do("POST", push, bytes.NewReader(layer), true); response.StatusCode != http.StatusCreated {
		t.Errorf("a layer: got %s", response.Status)
	}
	// A proxy that buffers would wait for the end of this body, which never comes.
	body, endless := io.Pipe()
	defer endless.Close()
	if response := do("POST", push, body, false); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: got %s", response.Status)
	}
}
