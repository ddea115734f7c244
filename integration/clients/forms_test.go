package clients

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/mirror"
	"github.com/eblume/caddy-registry/integration/server"
)

// form returns the configuration for a client in docs/do/clients.md: the block of code below
// the heading that begins with its name, for host without TLS.
func form(t *testing.T, client, host string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	var inside, found bool
	var block strings.Builder
	for line := range strings.Lines(string(text)) {
		fence := strings.HasPrefix(line, "```")
		switch {
		case inside && fence:
			return strings.NewReplacer(
				"https://registry.example.org", "http://"+host,
				"http://registry.example.org:5050", "http://"+host,
				"registry.example.org", host,
			).Replace(block.String())
		case inside:
			block.WriteString(line)
		case fence:
			inside = found
		case !found:
			rest, named := strings.CutPrefix(line, "## "+client)
			// "containerd, by path" is not containerd, and podman has others after it.
			found = named && (rest == "\n" || strings.HasPrefix(rest, ", ") && !strings.HasPrefix(rest, ", by path"))
		}
	}
	t.Fatalf("docs/do/clients.md has no form for %s", client)
	return ""
}

// Clients that are not available in tests: their configuration is parsed strictly, as they
// parse it, and the mirror gets the requests that they send.
func TestMirrorFormsThatNoClientReads(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	mirror.Push(t, hub, "library/app", "v1", image(t, true))
	r := startMirror(t, hub, "")
	type prefixed map[string]struct {
		Mirrors []string `toml:"mirrors" json:"mirrors"`
		HTTP    bool     `toml:"http" json:"http"`
	}
	// byPrefix returns the form of BuildKit's requests: the mirror's path before the name, and
	// no ns.
	byPrefix := func(found prefixed) []string {
		var urls []string
		for _, m := range found["docker.io"].Mirrors {
			host, path, _ := strings.Cut(m, "/")
			urls = append(urls, "http://"+host+"/v2/"+path+"/library/app/manifests/v1")
		}
		return urls
	}
	for _, row := range []struct {
		client string
		read   func(t *testing.T, text string) (urls []string)
	}{
		{"k3s", func(t *testing.T, text string) (urls []string) {
			var file struct {
				Mirrors map[string]struct {
					Endpoint []string `yaml:"endpoint"`
				} `yaml:"mirrors"`
			}
			decoder := yaml.NewDecoder(strings.NewReader(text))
			decoder.KnownFields(true)
			if err := decoder.Decode(&file); err != nil {
				t.Fatal(err)
			}
			for _, endpoint := range file.Mirrors["docker.io"].Endpoint {
				urls = append(urls, endpoint+"/v2/library/app/manifests/v1?ns=docker.io")
			}
			return urls
		}},
		{"BuildKit", func(t *testing.T, text string) []string {
			var file struct {
				Registry prefixed `toml:"registry"`
			}
			read, err := toml.Decode(text, &file)
			if err != nil || len(read.Undecoded()) > 0 {
				t.Fatalf("got %v, and %v not understood", err, read.Undecoded())
			}
			return byPrefix(file.Registry)
		}},
		{"Dagger", func(t *testing.T, text string) []string {
			var file struct {
				Registries prefixed `json:"registries"`
			}
			decoder := json.NewDecoder(strings.NewReader(text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&file); err != nil {
				t.Fatal(err)
			}
			return byPrefix(file.Registries)
		}},
	} {
		t.Run(row.client, func(t *testing.T) {
			for _, text := range []string{form(t, row.client, r.Host), lines(t, r.Server, strings.ToLower(row.client))} {
				urls := row.read(t, text)
				if len(urls) != 1 {
					t.Fatalf("got %q, want one mirror of docker.io", urls)
				}
				response, err := r.client.Request(t.Context(), http.MethodGet, urls[0], nil, nil, http.StatusOK)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
			}
		})
	}
}
