package namespace

import (
	"net"
	"slices"
	"strings"
)

// Site is what Resolve knows about the place where a request arrived.
type Site struct {
	// Host is the host that the client called, with its port if it wrote one.
	Host string
	// Hosts are all further names of this registry, as Host would be, in the form
	// of CanonicalHost.
	Hosts []string
	// Private are the names that this registry keeps itself. None at all means
	// every name.
	Private Globs
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

// Claims tells whether this registry keeps the name itself.
func (s *Site) Claims(name string) bool {
	return len(s.Private) == 0 || s.Private.Match(name)
}
