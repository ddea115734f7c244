package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
)

// resolveMirrors reads the secrets of all mirrors.
func (a *App) resolveMirrors() ([]running.MirrorSpec, error) {
	var specs []running.MirrorSpec
	for _, name := range slices.Sorted(maps.Keys(a.Mirrors)) {
		m := a.Mirrors[name]
		spec := running.MirrorSpec{Name: name, Upstream: m.upstream(name), Settings: m.settings(name, a.site.Private)}
		err := m.readSecrets(&spec.Upstream)
		if err == nil {
			spec.Key, err = m.identify(spec)
		}
		if err != nil {
			return nil, fmt.Errorf("mirror %s: %w", name, err)
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// identify digests all that makes the client what it is, also the content of its
// files: a certificate that was renewed is taken at the next load.
func (m *Mirror) identify(s running.MirrorSpec) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%+q", s.Name)
	c := s.Upstream
	fmt.Fprintf(h, "%+q %q %q %+q %d %d %d %d %d", c.URLs, c.User, c.Secret, c.AllowPrivate,
		c.HeadTimeout, c.ConnectTimeout, c.StallTimeout, c.Breaker, c.MaxConnections)
	files := []string{c.CredentialsFile, m.CA}
	if m.ClientCertificate != nil {
		files = append(files, m.ClientCertificate.Certificate, m.ClientCertificate.Key)
	}
	for _, file := range files {
		var content []byte
		if file != "" {
			var err error
			if content, err = os.ReadFile(file); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(h, "%q", content)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// joined is everything that canonical names reach, over the trees that it was made of.
type joined struct {
	trees *running.Trees
	union *namespace.Union
}

// acquire returns the registry, with its storage open until a.storage.Release is
// called. Errors: core.ErrUnavailable.
func (a *App) acquire(ctx context.Context) (*namespace.Union, error) {
	trees, err := a.storage.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if j := a.joined.Load(); j != nil && j.trees == trees {
		return j.union, nil
	}
	union, err := a.join()
	if err != nil {
		a.storage.Release()
		return nil, fmt.Errorf("%w: %w", core.ErrUnavailable, err)
	}
	a.joined.Store(&joined{trees, union})
	return union, nil
}

// join opens the mirrors and puts everything under its names.
func (a *App) join() (*namespace.Union, error) {
	specs, err := a.specs()
	if err != nil {
		return nil, err
	}
	return a.storage.Join(a.site.Owner, specs)
}
