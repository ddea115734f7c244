package namespace

import (
	"slices"
	"strings"
)

const dockerHub = "docker.io"

// hubHosts are Docker Hub's index and its API. Docker, podman and Kubernetes write
// docker.io for the first; ctr and the libraries of crane and kaniko do not, and none
// does for the second.
var hubHosts = []string{"index.docker.io", "registry-1.docker.io"}

// Aliases are the further hosts by which clients name a mirror.
func Aliases(mirror string) []string {
	if mirror == dockerHub {
		return slices.Clone(hubHosts)
	}
	return nil
}

// AliasOf is the mirror that a host is another name of, or empty.
func AliasOf(host string) string {
	if slices.Contains(hubHosts, host) {
		return dockerHub
	}
	return ""
}

// usual is the mirror's name for one of its aliases, and any other host as it is.
func (s *Site) usual(host string) string {
	if mirror := AliasOf(host); mirror != "" && slices.Contains(s.Mirrors, mirror) {
		return mirror
	}
	return host
}

// usualName is a repository's name with its first component as usual.
func (s *Site) usualName(name string) string {
	first, rest, found := strings.Cut(name, "/")
	if !found {
		return name
	}
	return s.usual(first) + "/" + rest
}
