package namespace

import (
	"net"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/core/globs"
)

// Site is what Resolve knows about the place where a request arrived.
type Site struct {
	// Host is the host that the client called, with its port if it wrote one.
	Host string
	// Hosts are all further names of this registry, as Host would be, in the form
	// of CanonicalHost.
	Hosts []string
	// Private are the names that this registry keeps itself. None at all means
	// every name that no mirror has.
	Private globs.Globs
	// Mirrors are the names of the mirrors, each a host in the form of
	// CanonicalHost. They win over Private: docker.io/x is never private.
	Mirrors []string
	// Upstream is the mirror that this place stands for, or empty: names belong to
	// it unless they have another mirror's prefix.
	Upstream string
	// Fallback is the mirror that has the names which nobody else claims, or empty.
	Fallback string
}

// CanonicalHost is the form in which hosts are compared: lower case, without the
// port that the scheme implies, because some clients write it and others do not.
func CanonicalHost(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	name, port, err := net.SplitHostPort(host)
	if err != nil || port != "443" && port != "80" {
		return host
	}
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

// ourselves tells whether a client that names host means this registry.
func (s *Site) ourselves(host string) bool {
	host = CanonicalHost(host)
	return host == CanonicalHost(s.Host) || slices.Contains(s.Hosts, host)
}

// Claims reports whether this registry keeps the name itself.
func (s *Site) Claims(name string) bool {
	mirror, ok := s.Owner(name)
	return ok && mirror == ""
}

// mirrorOf is the mirror whose name a canonical name begins with, or empty.
func (s *Site) mirrorOf(name string) string {
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains(s.Mirrors, first) {
		return first
	}
	return ""
}

// namedBy is the mirror that `ns` names, if it is one.
func (s *Site) namedBy(ns string) string { return s.usual(CanonicalHost(ns)) }

// Named is the mirror that a client names as the prefix of a repository, or empty.
func (s *Site) Named(name string) string { return s.mirrorOf(s.usualName(name)) }

// Owner returns the mirror that a canonical name belongs to, empty for this registry
// itself. It is false where nobody claims the name.
func (s *Site) Owner(repo string) (mirror string, ok bool) {
	if mirror = s.mirrorOf(repo); mirror != "" {
		return mirror, true
	}
	return "", len(s.Private) == 0 || s.Private.Match(repo)
}

// Canonical is the name of a repository here for a name with its registry's prefix, as another
// registry's directory has it, and the mirror that has it, or empty. It is false where nobody
// claims the name.
func (s *Site) Canonical(name string) (repo, mirror string, ok bool) {
	repo, mirror, _, ok = s.canonical(name, "")
	return repo, mirror, ok
}

// canonical returns the one name of the repository that a client means with name, and
// with ns, a mirror or empty; the mirror that has it, or empty; and how the client named
// that mirror. It is false where nobody claims the name.
func (s *Site) canonical(name, ns string) (repo, mirror string, form Form, ok bool) {
	if ns == "" || ns == DockerHub {
		name = s.usualName(name)
	}
	if ns != "" {
		return Mirrored(ns, name), ns, ByNS, true
	}
	owner, claimed := s.Owner(name)
	switch {
	case owner != "":
		return Mirrored(owner, name), owner, ByPrefix, name != owner // a mirror is not a repository
	case s.Upstream != "":
		return Mirrored(s.Upstream, name), s.Upstream, BySite, true
	case claimed:
		return name, "", "", true
	case s.Fallback != "":
		return Mirrored(s.Fallback, name), s.Fallback, ByFallback, true
	}
	return name, "", "", false
}

// Mirrored is the name of a mirror's repository, with the mirror's prefix once. Docker
// Hub keeps the names of one component under library/.
func Mirrored(mirror, name string) string {
	name = strings.TrimPrefix(name, mirror+"/")
	if mirror == DockerHub && !strings.Contains(name, "/") {
		name = "library/" + name
	}
	return mirror + "/" + name
}
