package clientlines_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/clientlines"
	"github.com/eblume/caddy-registry/caddymodule/sites"
)

// site is one at an address, with what change makes of it.
func site(host, address string, change func(*sites.Site)) sites.Site {
	at, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		panic(err)
	}
	s := sites.Site{Host: host, Address: at, TLS: at.StartPort == 443}
	if change != nil {
		change(&s)
	}
	return s
}

func TestLines(t *testing.T) {
	var (
		secure   = site("registry.example.org", ":443", nil)
		internal = site("registry.lan", ":443", func(s *sites.Site) { s.PrivateCA = true })
		docker   = site("registry.lan", ":5050", func(s *sites.Site) { s.Fallback = "docker.io" })
		hub      = site("hub.lan", ":5051", func(s *sites.Site) { s.Upstream = "docker.io" })
		wild     = site("", ":5050", nil)
		behind   = site("", "127.0.0.1:5050", func(s *sites.Site) { s.Proxied = true })
	)
	named := &url.URL{Scheme: "https", Host: "registry.example.org"}
	for _, row := range []struct {
		name, mirror string
		all          []sites.Site
		named        *url.URL
		client       string
		// text and note are parts; "-" is that there must be none.
		text, note string
	}{
		{"TLS comes before plain HTTP", "quay.io", []sites.Site{docker, secure}, nil, "containerd", "server = \"https://registry.example.org\"\n", "-"},
		{"the registry's own URL comes before others", "quay.io", []sites.Site{internal, secure}, named, "k3s", "- \"https://registry.example.org\"", "-"},
		{"a proxy in front has the URL", "quay.io", []sites.Site{behind}, named, "podman", "location = \"registry.example.org/quay.io\"", "-"},
		{"plain HTTP for podman", "quay.io", []sites.Site{docker}, nil, "podman", "registry.lan:5050/quay.io\"\ninsecure = true\n", "-"},
		{"plain HTTP for BuildKit", "quay.io", []sites.Site{docker}, nil, "buildkit", "[registry.\"registry.lan:5050\"]\n  http = true\n", "-"},
		{"a site without a name", "quay.io", []sites.Site{wild}, nil, "buildkit", "machine:5050/quay.io", "this machine's name"},
		{"a site without a name, from minikube", "quay.io", []sites.Site{wild}, nil, "minikube-containerd", "http://host.minikube.internal:5050", "copies the file into the node"},
		{"Caddy's own authority", "quay.io", []sites.Site{internal}, nil, "podman", "registry.lan/quay.io", "root.crt in Caddy's data directory: copy it to /etc/containers/certs.d/registry.lan/ca.crt"},
		{"a site that stands for the mirror has no prefix", "docker.io", []sites.Site{hub}, nil, "podman", "location = \"hub.lan:5051\"\n", "-"},
		{"a site that stands for another mirror", "quay.io", []sites.Site{hub}, nil, "podman", "-", "no site of the configuration serves this mirror"},
		{"Docker goes to the root of the site that has it", "docker.io", []sites.Site{secure, docker}, named, "docker", "[\"http://registry.lan:5050\"], \"insecure-registries\": [\"registry.lan:5050\"]", "-"},
		{"Docker without such a site", "docker.io", []sites.Site{secure}, nil, "docker", "-", "no site has `fallback docker.io`"},
		{"Docker and another registry", "quay.io", []sites.Site{docker}, nil, "docker", "-", "pull registry.lan:5050/quay.io/… by its name"},
		{"minikube with dockerd", "docker.io", []sites.Site{docker}, nil, "minikube-docker", "--registry-mirror=http://registry.lan:5050 --insecure-registry=registry.lan:5050", "-"},
		{"minikube with dockerd and another registry", "quay.io", []sites.Site{docker}, nil, "minikube-docker", "-", "Docker Hub only"},
		{"Dagger by TLS", "quay.io", []sites.Site{secure}, nil, "dagger", "{ \"registries\": { \"quay.io\": { \"mirrors\": [\"registry.example.org/quay.io\"] } } }", "-"},
		{"no site", "docker.io", nil, named, "k3s", "-", "add oci_registry"},
	} {
		t.Run(row.name, func(t *testing.T) {
			lines := clientlines.For(row.mirror, row.all, row.named, "machine")
			var clients []string
			for _, l := range lines {
				clients = append(clients, l.Client)
			}
			if slices.Sort(clients); !slices.Equal(clients, slices.Sorted(slices.Values(clientlines.Clients))) {
				t.Fatalf("got lines for %q, want one entry for each of %q", clients, clientlines.Clients)
			}
			got := lines[slices.IndexFunc(lines, func(l clientlines.Lines) bool { return l.Client == row.client })]
			for _, part := range []struct{ got, want string }{{got.Text, row.text}, {got.Note, row.note}} {
				if part.want == "-" && part.got != "" || part.want != "-" && !strings.Contains(part.got, part.want) {
					t.Errorf("got %+v, want text %q and note %q", got, row.text, row.note)
				}
			}
			if got.Mirror != row.mirror || got.Text != "" && got.File == "" && !strings.HasPrefix(got.Text, "minikube start ") {
				t.Errorf("got %+v, which says neither a file nor a command", got)
			}
			if printed := got.String(); got.Text != "" && !strings.HasSuffix(printed, strings.TrimRight(got.Text, "\n")) {
				t.Errorf("got %q, without the text", printed)
			}
		})
	}
}
