package caddymodule

import (
	"fmt"
	"net/url"
	"strings"
)

// clientLines are what makes one kind of client ask a mirror.
type clientLines struct {
	Mirror string `json:"mirror"`
	Client string `json:"client"`
	File   string `json:"file"`
	Text   string `json:"text"`
	// Note is what the lines need besides.
	Note string `json:"note,omitempty"`
}

// linesFor are the lines for a registry that clients reach at base, and one of its
// mirrors. Docker's daemon knows mirrors of Docker Hub only.
func linesFor(base *url.URL, mirror string) []clientLines {
	plain := base.Scheme == "http"
	server := "https://" + mirror
	if mirror == dockerHub {
		server = dockerHubURL
	}
	lines := []clientLines{
		{Client: "containerd", File: "/etc/containerd/certs.d/" + mirror + "/hosts.toml", Text: fmt.Sprintf(`server = %q

[host.%q]
  capabilities = ["pull", "resolve"]
`, server, base)},
		{Client: "k3s", File: "/etc/rancher/k3s/registries.yaml", Text: fmt.Sprintf(`mirrors:
  %q:
    endpoint:
      - %q
`, mirror, base)},
		{Client: "podman", File: "/etc/containers/registries.conf", Text: fmt.Sprintf(`[[registry]]
prefix = %q
location = %q

[[registry.mirror]]
location = %q
`, mirror, mirror, base.Host+"/"+mirror) + when(plain, "insecure = true\n")},
		{Client: "buildkit", File: "/etc/buildkit/buildkitd.toml", Text: fmt.Sprintf(`[registry.%q]
  mirrors = [%q]
`, mirror, base.Host+"/"+mirror) + when(plain, fmt.Sprintf(`
[registry.%q]
  http = true
`, base.Host))},
	}
	if mirror == dockerHub {
		lines = append(lines, clientLines{Client: "docker", File: "/etc/docker/daemon.json",
			Note: "the site must have `fallback docker.io` or `upstream docker.io`", Text: fmt.Sprintf(`{
  "registry-mirrors": [%q]%s
}
`, base, when(plain, fmt.Sprintf(",\n  \"insecure-registries\": [%q]", base.Host)))})
	}
	for i := range lines {
		lines[i].Mirror = mirror
	}
	return lines
}

func when(so bool, text string) string {
	if so {
		return text
	}
	return ""
}

// String says where the lines belong.
func (l clientLines) String() string {
	note := when(l.Note != "", " ("+l.Note+")")
	return fmt.Sprintf("# %s, for %s: %s%s\n%s", l.Client, l.Mirror, l.File, note, strings.TrimRight(l.Text, "\n"))
}
