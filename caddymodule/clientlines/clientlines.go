// Package clientlines writes what makes clients use the mirrors of a registry, derived from
// the sites on which its configuration serves it.
//
//	lines := clientlines.For("docker.io", found, base)
//
// There is one entry for each kind of client. What cannot work with these sites has a note
// that says why instead of a text.
package clientlines

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/sites"
)

// dockerHub is the only registry of which Docker's daemon knows mirrors.
const dockerHub = "docker.io"

// minikubeHost is how nodes of minikube call the machine that they run on.
const minikubeHost = "host.minikube.internal"

// Lines are what makes one kind of client ask a mirror.
type Lines struct {
	Mirror string `json:"mirror"`
	Client string `json:"client"`
	// File is where Text belongs, or empty: Text is a command line then.
	File string `json:"file,omitempty"`
	Text string `json:"text,omitempty"`
	// Note is what the lines need besides, or why there are none.
	Note string `json:"note,omitempty"`
}

// String is the lines as a person reads them.
func (l Lines) String() string {
	head := "# " + l.Client + ", for " + l.Mirror
	if l.File != "" {
		head += ": " + l.File
	}
	if l.Note != "" {
		head += "\n# " + l.Note
	}
	return strings.TrimRight(head+"\n"+l.Text, "\n")
}

// Clients are the kinds of clients, in the order of For.
var Clients = []string{"containerd", "k3s", "podman", "buildkit", "dagger", "docker", "minikube-containerd", "minikube-docker"}

// For returns the lines for a mirror of a registry that is served on these sites. named is
// the registry's own URL, or nil; name is this machine's name, for sites that have none.
func For(mirror string, all []sites.Site, named *url.URL, name string) []Lines {
	whole, ok := choose(mirror, all, named, name)
	if !ok {
		lines := make([]Lines, len(Clients))
		for i, client := range Clients {
			lines[i] = Lines{Mirror: mirror, Client: client, Note: "no site of the configuration serves this mirror: add oci_registry to one"}
		}
		return lines
	}
	root, atRoot := chooseRoot(mirror, all, named, name)
	inside := whole.seenFromMinikube()
	lines := []Lines{
		{Client: "containerd", File: "/etc/containerd/certs.d/" + mirror + "/hosts.toml", Text: whole.hosts(), Note: whole.needs("set ca in hosts.toml")},
		{Client: "k3s", File: "/etc/rancher/k3s/registries.yaml", Text: fmt.Sprintf("mirrors:\n  %s:\n    endpoint:\n      - %q\n", mirror, whole.base),
			Note: whole.needs("set configs, tls, ca_file in registries.yaml")},
		{Client: "podman", File: "/etc/containers/registries.conf", Text: fmt.Sprintf("[[registry]]\nlocation = %q\n\n[[registry.mirror]]\nlocation = %q\n", mirror, whole.prefix(mirror)) +
			when(whole.plain(), "insecure = true\n"), Note: whole.needs("copy it to /etc/containers/certs.d/" + whole.base.Host + "/ca.crt")},
		{Client: "buildkit", File: "/etc/buildkit/buildkitd.toml", Text: fmt.Sprintf("[registry.%q]\n  mirrors = [%q]\n", mirror, whole.prefix(mirror)) +
			when(whole.plain(), fmt.Sprintf("\n[registry.%q]\n  http = true\n", whole.base.Host)), Note: whole.needs(fmt.Sprintf("set ca of registry.%q", whole.base.Host))},
		{Client: "dagger", File: "~/.config/dagger/engine.json", Text: whole.dagger(mirror), Note: whole.needs("set ca of the registry " + whole.base.Host + " in engine.json")},
	}
	docker := Lines{Client: "docker", File: "/etc/docker/daemon.json"}
	cube := Lines{Client: "minikube-docker"}
	switch {
	case mirror != dockerHub:
		docker = Lines{Client: "docker", Note: "Docker's daemon has mirrors of Docker Hub only: pull " + whole.prefix(mirror) + "/… by its name"}
		cube.Note = docker.Note
	case !atRoot:
		docker = Lines{Client: "docker", Note: "no site has `fallback docker.io` or `upstream docker.io`, which Docker's daemon needs: add one of them to a site's oci_registry"}
		cube.Note = docker.Note
	default:
		docker.Text = fmt.Sprintf("{ \"registry-mirrors\": [%q]%s }\n", root.base, when(root.plain(), fmt.Sprintf(", \"insecure-registries\": [%q]", root.base.Host)))
		docker.Note = root.needs("copy it to /etc/docker/certs.d/" + root.base.Host + "/ca.crt")
		near := root.seenFromMinikube()
		cube.Text = fmt.Sprintf("minikube start --container-runtime=docker --registry-mirror=%s%s\n", near.base, when(near.plain(), " --insecure-registry="+near.base.Host))
		cube.Note = near.needs("start with --embed-certs and copy it to ~/.minikube/certs")
	}
	lines = append(lines, docker,
		Lines{Client: "minikube-containerd", File: "~/.minikube/files/etc/containerd/certs.d/" + mirror + "/hosts.toml", Text: inside.hosts(),
			Note: join("minikube start --container-runtime=containerd copies the file into the node", inside.needs("set ca in hosts.toml"))}, cube)
	for i := range lines {
		lines[i].Mirror = mirror
	}
	return lines
}

// place is where clients reach the mirror.
type place struct {
	site sites.Site
	base *url.URL
	note string
}

// choose returns the site that serves all names, preferably by the registry's own URL,
// then by TLS; or else one that stands for the mirror.
func choose(mirror string, all []sites.Site, named *url.URL, name string) (best place, ok bool) {
	rank := -1
	for _, site := range all {
		if site.Upstream != "" && site.Upstream != mirror {
			continue
		}
		p := placeOf(site, named, name)
		r := 0
		if site.Upstream == "" {
			r += 8
		}
		if named != nil && p.base.Host == named.Host {
			r += 4
		}
		if p.base.Scheme == "https" {
			r += 2
		}
		if !site.Loopback() {
			r++
		}
		if r > rank {
			best, rank = p, r
		}
	}
	return best, rank >= 0
}

// chooseRoot returns the site that has the mirror's images at its root.
func chooseRoot(mirror string, all []sites.Site, named *url.URL, name string) (place, bool) {
	var root []sites.Site
	for _, site := range all {
		if site.Upstream == mirror || site.Fallback == mirror {
			site.Upstream = mirror
			root = append(root, site)
		}
	}
	return choose(mirror, root, named, name)
}

// placeOf is how clients call a site. A proxy in front of it may have the registry's URL.
func placeOf(site sites.Site, named *url.URL, name string) place {
	if named == nil {
		p := place{site: site, base: site.Base(name)}
		if site.Wild() {
			p.note = name + " is this machine's name: write the one by which clients reach it"
		}
		return p
	}
	p := place{site: site, base: site.Base(named.Hostname())}
	if site.Host == named.Hostname() || site.Host == "" && site.Proxied {
		p.base = &url.URL{Scheme: named.Scheme, Host: named.Host}
	}
	return p
}

func (p place) plain() bool { return p.base.Scheme == "http" }

// prefix is the mirror's name below the site, without a scheme.
func (p place) prefix(mirror string) string {
	if p.site.Upstream == mirror {
		return p.base.Host
	}
	return p.base.Host + "/" + mirror
}

// hosts is containerd's file: nobody else is asked when the mirror fails.
func (p place) hosts() string {
	return fmt.Sprintf("server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", p.base, p.base)
}

func (p place) dagger(mirror string) string {
	return fmt.Sprintf("{ \"registries\": { %q: { \"mirrors\": [%q] }%s } }\n", mirror, p.prefix(mirror),
		when(p.plain(), fmt.Sprintf(", %q: { \"http\": true }", p.base.Host)))
}

// needs is a note for what the lines need besides: a name, or trust in a certificate that
// clients do not know.
func (p place) needs(trust string) string {
	if !p.site.PrivateCA || p.plain() {
		return p.note
	}
	return join(p.note, "the site's certificate is of Caddy's own authority, pki/authorities/local/root.crt in Caddy's data directory: "+trust)
}

// seenFromMinikube is the place as nodes of minikube reach it.
func (p place) seenFromMinikube() place {
	host := p.base.Hostname()
	ip := net.ParseIP(host)
	switch {
	case host == "localhost" || ip != nil && ip.IsLoopback():
		p.note = "the site listens on loopback, where a node cannot reach it: bind it to another address too"
	case p.site.Wild() && p.plain():
		p.note = ""
	default:
		return p
	}
	at := minikubeHost
	if port := p.base.Port(); port != "" {
		at = net.JoinHostPort(at, port)
	}
	p.base = &url.URL{Scheme: p.base.Scheme, Host: at}
	return p
}

func join(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
}

func when(so bool, text string) string {
	if so {
		return text
	}
	return ""
}
