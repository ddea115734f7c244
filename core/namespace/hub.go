package namespace

import (
	"slices"
	"strings"
)

// DockerHub is the mirror of Docker Hub, whose registry has another host than its name.
const DockerHub = "docker.io"

// hubHosts are Docker Hub's index and its API. Docker, podman and Kubernetes write
// docker.io for the first; ctr and the libraries of crane and kaniko do not, and none
// does for the second.
var hubHosts = []string{"index.docker.io", "registry-1.docker.io"}

// Aliases are the further hosts by which clients name a mirror.
func Aliases(mirror string) []string {
	if mirror == DockerHub {
		return slices.Clone(hubHosts)
	}
	return nil
}

// AliasOf is the mirror that a host is another name of, or empty.
func AliasOf(host string) string {
	if slices.Contains(hubHosts, host) {
		return DockerHub
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
	if mirror := s.usual(first); found && mirror != first {
		return mirror + "/" + rest
	}
	return name
}
