package clients

import (
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

// clientLines are the lines that `registry doctor --clients` prints for a client.
type clientLines struct{ Mirror, Client, File, Text, Note string }

// allLines are those of every client for docker.io, from the configuration that runs.
func allLines(t *testing.T, r *server.Server) map[string]clientLines {
	t.Helper()
	out, err := r.Command(t.Context(), t, "registry", "doctor", "--clients", "--json", "docker.io").Output()
	if err != nil {
		t.Fatal(err)
	}
	var printed struct{ Clients []clientLines }
	if err := json.Unmarshal(out, &printed); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	all := map[string]clientLines{}
	for _, lines := range printed.Clients {
		all[lines.Client] = lines
	}
	return all
}

// lines are the doctor's for a client, which must have some.
func lines(t *testing.T, r *server.Server, client string) string {
	t.Helper()
	got := allLines(t, r)[client]
	if got.Text == "" {
		t.Fatalf("the doctor prints no lines for %s: %+v", client, got)
	}
	return got.Text
}

// The doctor prints the configuration of docs/do/clients.md for the running site. On plain HTTP
// some clients need one more line, with which the other tests run them.
func TestTheDoctorsLinesAreThoseOfTheDocumentation(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{Kind: upstreamtest.Hub})
	r, _ := startMirror(t, hub, "fallback docker.io"), newHome(t)
	all := allLines(t, r.Server)
	decode := map[string]func(string, any) error{
		"toml": func(text string, into any) error { _, err := toml.Decode(text, into); return err },
		"yaml": func(text string, into any) error { return yaml.Unmarshal([]byte(text), into) },
		"json": func(text string, into any) error { return json.Unmarshal([]byte(text), into) },
	}
	for _, row := range []struct {
		client, page, kind string
		// plain has the additional lines for plain HTTP, which are removed.
		plain string
	}{
		{"containerd", "containerd", "toml", ""},
		{"k3s", "k3s", "yaml", ""},
		{"podman", "podman", "toml", "insecure = true\n"},
		{"buildkit", "BuildKit", "toml", "\n[registry.\"" + r.Host + "\"]\n  http = true\n"},
		{"dagger", "Dagger", "json", ", \"" + r.Host + "\": { \"http\": true }"},
		{"docker", "Docker", "json", ", \"insecure-registries\": [\"" + r.Host + "\"]"},
	} {
		got := all[row.client]
		text := strings.Replace(got.Text, row.plain, "", 1)
		if row.plain != "" && text == got.Text {
			t.Errorf("%s: %q is not in %q", row.client, row.plain, got.Text)
		}
		var mine, page map[string]any
		if err := decode[row.kind](text, &mine); err != nil {
			t.Errorf("%s: %v: %s", row.client, err, text)
		}
		if err := decode[row.kind](form(t, row.page, r.Host), &page); err != nil {
			t.Errorf("%s of docs/do/clients.md: %v", row.client, err)
		}
		if len(mine) == 0 || !reflect.DeepEqual(mine, page) {
			t.Errorf("%s: got %v, and docs/do/clients.md has %v", row.client, mine, page)
		}
		delete(all, row.client)
	}

	// The node of minikube has its own name for the machine that it runs on.
	cube := strings.Replace(r.URL, "127.0.0.1", "host.minikube.internal", 1)
	var hosts struct {
		Server string
		Host   map[string]struct{ Capabilities []string }
	}
	containerd := all["minikube-containerd"]
	if read, err := toml.Decode(containerd.Text, &hosts); err != nil || len(read.Undecoded()) > 0 || hosts.Server != cube || len(hosts.Host[cube].Capabilities) == 0 ||
		!strings.HasPrefix(containerd.File, "~/.minikube/files/etc/containerd/certs.d/docker.io/") || !strings.Contains(containerd.Note, "loopback") {
		t.Errorf("got %+v, %v", containerd, err)
	}
	flags := map[string]string{}
	words := strings.Fields(all["minikube-docker"].Text)
	for _, word := range words[min(2, len(words)):] {
		name, value, _ := strings.Cut(word, "=")
		flags[name] = value
	}
	mirror, err := url.Parse(flags["--registry-mirror"])
	if want := map[string]string{"--container-runtime": "docker", "--registry-mirror": cube, "--insecure-registry": strings.TrimPrefix(cube, "http://")}; err != nil || mirror.Host == "" || !reflect.DeepEqual(flags, want) ||
		!strings.HasPrefix(all["minikube-docker"].Text, "minikube start ") {
		t.Errorf("got %q, want the flags %v", all["minikube-docker"].Text, want)
	}
	delete(all, "minikube-containerd")
	delete(all, "minikube-docker")
	if len(all) > 0 {
		t.Errorf("lines for other clients, which no test reads: %v", all)
	}
}
