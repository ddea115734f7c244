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

// Registry is the configuration of the app oci: what the registry keeps, where it is stored,
// and the rules of access.
type Registry struct {
	// URL is the public address of this registry. Clients that name it in `ns` mean this
	// registry. Default: none; the host of the request always counts.
	URL string `json:"url,omitempty"`

	// Hostnames are additional names of this registry, each a host, or a host and a
	// port. Default: none.
	Hostnames []string `json:"hostnames,omitempty"`

	// StorageRaw is the storage of the content. Default: the directory ./data.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=oci.storage inline_key=module"`

	// CacheRaw is the cache in front of the storage. Default: memory, with at most 256MiB.
	CacheRaw json.RawMessage `json:"cache,omitempty" caddy:"namespace=oci.cache inline_key=module"`

	// GC configures the collector. Default: see GC.
	GC *GC `json:"gc,omitempty"`

	// Verify configures the verification of stored content. Default: see Verify.
	Verify *Verify `json:"verify,omitempty"`

	// MinFree is the space that mirrors leave free on their disk: a percentage of it, which
	// counts as 50 GiB at most, or a size such as 10GiB. Below it they evict the least recently
	// pulled images, and then store no more. Default: 5%.
	MinFree string `json:"min_free,omitempty"`

	// Private are patterns for the names that this registry keeps itself, such as
	// team/**. A push to any other name is refused. Default: every name that no mirror
	// has.
	Private []string `json:"private,omitempty"`

	// Mirrors are the mirrored registries, by their names in image references, such as
	// docker.io. Default: none.
	Mirrors map[string]*Mirror `json:"mirror,omitempty"`

	// Policy has the rules of access. Default: every caller may read and fetch, and none may
	// write.
	Policy *Policy `json:"policy,omitempty"`

	// Limits bounds the resources of callers that may push or make keys. Default: see Limits.
	Limits *Limits `json:"limits,omitempty"`

	// APIKeys configures API keys. Default: see APIKeys.
	APIKeys *authenticators.APIKeys `json:"api_keys,omitempty"`

	// AuthenticatorsRaw verify credentials that are neither API keys nor registry
	// tokens, in their order. Default: none.
	AuthenticatorsRaw []json.RawMessage `json:"authenticators,omitempty" caddy:"namespace=oci.authenticators inline_key=module"`

	// OIDC configures the sign-in. Default: users cannot sign in.
	OIDC *authenticators.OIDC `json:"oidc,omitempty"`

	// LocalUsers are users with a password, whose hash is in the configuration. Default: none.
	LocalUsers authenticators.LocalUsers `json:"local_user,omitempty"`
}

// Site returns the meaning of names: the registry's own and those of its mirrors, which it
// checks. It resolves no secret, reads no file and dials nothing.
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

// own returns the meaning of the registry's own names.
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

// OwnURL returns the registry's address without a slash at its end.
func (r *Registry) OwnURL() string { return strings.TrimSuffix(r.URL, "/") }
