package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/authenticators"
	"github.com/eblume/caddy-registry/core/globs"
	"github.com/eblume/caddy-registry/core/namespace"
)

// Registry is the app oci as the operator writes it: what the registry keeps, where, and who
// may do what.
type Registry struct {
	// URL is the address under which people know this registry. Clients that name
	// it in `ns` mean this registry. Default: none; the host that a client called
	// always counts.
	URL string `json:"url,omitempty"`

	// Hostnames are further names of this registry, each a host, or a host and a
	// port. Default: none.
	Hostnames []string `json:"hostnames,omitempty"`

	// StorageRaw is where content is kept. Default: the directory ./data.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=oci.storage inline_key=module"`

	// CacheRaw is what is kept beside the storage, to be fast. Default: memory, with
	// at most 256MiB.
	CacheRaw json.RawMessage `json:"cache,omitempty" caddy:"namespace=oci.cache inline_key=module"`

	// GC is what is collected, and when. Default: see GC.
	GC *GC `json:"gc,omitempty"`

	// Verify is how often what is stored is compared with its digest. Default: see Verify.
	Verify *Verify `json:"verify,omitempty"`

	// MinFree is what mirrors leave free on their disk: a percentage of it, which
	// counts as 50 GiB at most, or a size such as 10GiB. Below it they evict what was
	// pulled longest ago, and then keep no more. Default: 5%.
	MinFree string `json:"min_free,omitempty"`

	// Private are patterns for the names that this registry keeps itself, such as
	// team/**. A push to any other name is refused. Default: every name that no mirror
	// has.
	Private []string `json:"private,omitempty"`

	// Mirrors are the registries that are served from here, by their names in image
	// references, as docker.io. Default: none.
	Mirrors map[string]*Mirror `json:"mirror,omitempty"`

	// Policy is who may do what. Default: everybody may read and fetch, and nobody
	// may write.
	Policy *Policy `json:"policy,omitempty"`

	// Limits are what callers may take who may push or make keys. Default: see Limits.
	Limits *Limits `json:"limits,omitempty"`

	// APIKeys is what API keys are like. Default: see APIKeys.
	APIKeys *authenticators.APIKeys `json:"api_keys,omitempty"`

	// AuthenticatorsRaw verify credentials that are neither API keys nor registry
	// tokens, in their order. Default: none.
	AuthenticatorsRaw []json.RawMessage `json:"authenticators,omitempty" caddy:"namespace=oci.authenticators inline_key=module"`

	// OIDC is how people sign in. Default: nobody does, and there are no pages.
	OIDC *authenticators.OIDC `json:"oidc,omitempty"`

	// LocalUsers are people with a password that stands here as a hash. Default: none.
	LocalUsers authenticators.LocalUsers `json:"local_user,omitempty"`
}

// Site is what names mean: the registry's own and those of its mirrors, which are checked. It
// resolves no secret, reads no file and dials nothing.
func (r *Registry) Site() (namespace.Site, error) {
	site, err := r.own()
	if err != nil {
		return site, err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Mirrors)) {
		if err := r.checkMirror(name, site.Hosts); err != nil {
			return site, fmt.Errorf("mirror %s: %w", name, err)
		}
		site.Mirrors = append(site.Mirrors, name)
	}
	return site, nil
}

// own is what the registry's own names mean.
func (r *Registry) own() (site namespace.Site, err error) {
	var hosts []string
	if r.URL != "" {
		u, err := url.Parse(r.URL)
		if err != nil {
			return site, fmt.Errorf("url: %w", err)
		}
		if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
			u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return site, fmt.Errorf("url: %q is not like https://registry.example.com", r.URL)
		}
		hosts = append(hosts, namespace.CanonicalHost(u.Host))
	}
	for _, h := range r.Hostnames {
		if u, err := url.Parse("//" + h); err != nil || h == "" || u.Host != h {
			return site, fmt.Errorf("hostnames: %q is not a host, or a host and a port", h)
		}
		hosts = append(hosts, namespace.CanonicalHost(h))
	}
	private, err := globs.Parse(r.Private...)
	if err != nil {
		return site, fmt.Errorf("private: %w", err)
	}
	return namespace.Site{Hosts: hosts, Private: private}, nil
}

// OwnURL is the registry's address without a slash at its end.
func (r *Registry) OwnURL() string { return strings.TrimSuffix(r.URL, "/") }
