package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/upstream"
)

// mirrorSpec is a mirror as one configuration wants it, with its secrets resolved.
type mirrorSpec struct {
	name     string
	key      string // names the client: configurations with the same key share it
	upstream upstream.Config
	settings mirror.Settings
}

// resolveMirrors reads the secrets of all mirrors.
func (a *App) resolveMirrors() ([]mirrorSpec, error) {
	var specs []mirrorSpec
	for _, name := range slices.Sorted(maps.Keys(a.Mirrors)) {
		m := a.Mirrors[name]
		spec := mirrorSpec{name: name, upstream: m.upstream(name), settings: m.settings(name, a.site.Private)}
		err := m.readSecrets(&spec.upstream)
		if err == nil {
			spec.key, err = spec.identify(m)
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
func (s *mirrorSpec) identify(m *Mirror) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%+q", s.name)
	c := s.upstream
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

// audience digests which upstream is asked as whom, without the secrets: it is part of
// keys that others can read.
func (s *mirrorSpec) audience() string {
	c := s.upstream
	sum := sha256.Sum256(fmt.Appendf(nil, "%+q %+q %q %q %t", s.name, c.URLs, c.User, c.CredentialsFile, c.Certificate != nil))
	return hex.EncodeToString(sum[:8])
}

// openMirror is a mirror in use. Of two configurations that ask one upstream in
// different ways, each has its own; they share what is held.
type openMirror struct {
	*mirror.Mirror
	client *upstream.Client
}

// mirror finds an open mirror, or opens it. It asks nobody. s.mu is held.
func (s *shared) mirrorLocked(spec mirrorSpec) (*openMirror, error) {
	if m := s.mirrors[spec.key]; m != nil {
		return m, nil
	}
	config := spec.upstream
	config.Log = s.log
	client, err := upstream.New(config)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", spec.name, err)
	}
	opened, err := mirror.New(mirror.Config{
		Name: spec.name, Local: s.trees.mirrors, State: s.trees.state,
		Upstream: observe.Upstream(client, spec.name), Settings: spec.settings, Keeper: s.trees.keeping.evictor, Log: s.log,
		Shared: &s.cache, Audience: spec.audience(),
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	m := &openMirror{opened, client}
	if s.mirrors == nil {
		s.mirrors = map[string]*openMirror{}
	}
	s.mirrors[spec.key] = m
	return m, nil
}

// closeMirrors ends all mirrors of the storage. What they were downloading goes on
// where it was with the next one. s.mu is held.
func (s *shared) closeMirrorsLocked() error {
	var errs []error
	for _, m := range s.mirrors {
		errs = append(errs, m.Close(), m.client.Close())
	}
	s.mirrors = nil
	return errors.Join(errs...)
}

// joined is everything that canonical names reach, over the trees that it was made of.
type joined struct {
	trees *trees
	union *namespace.Union
}

// acquire returns the registry, with its storage open until a.shared.release is
// called. Errors: core.ErrUnavailable.
func (a *App) acquire(ctx context.Context) (*namespace.Union, error) {
	trees, err := a.shared.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if j := a.joined.Load(); j != nil && j.trees == trees {
		return j.union, nil
	}
	union, err := a.join(trees)
	if err != nil {
		a.shared.release()
		return nil, fmt.Errorf("%w: %w", core.ErrUnavailable, err)
	}
	a.joined.Store(&joined{trees, union})
	return union, nil
}

// join opens the mirrors and puts everything under its names.
func (a *App) join(t *trees) (*namespace.Union, error) {
	specs, err := a.specs()
	if err != nil {
		return nil, err
	}
	a.shared.mu.Lock()
	defer a.shared.mu.Unlock()
	registries := map[string]core.Registry{"": t.pushes}
	for _, spec := range specs {
		m, err := a.shared.mirrorLocked(spec)
		if err != nil {
			return nil, err
		}
		registries[spec.name] = m
	}
	return namespace.New(a.site.Owner, registries), nil
}
