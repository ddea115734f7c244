package running

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/upstream"
)

// MirrorSpec is a mirror of one configuration, with its secrets resolved.
type MirrorSpec struct {
	Name     string
	Key      string // names the client: configurations with the same key share it
	Upstream upstream.Config
	Settings mirror.Settings
}

// audience returns a digest of the upstream and the user of its credentials, without the
// secrets: it is part of keys that others can read.
func (s *MirrorSpec) audience() string {
	c := s.Upstream
	sum := sha256.Sum256(fmt.Appendf(nil, "%+q %+q %q %q %t", s.Name, c.URLs, c.User, c.CredentialsFile, c.Certificate != nil))
	return hex.EncodeToString(sum[:8])
}

// openMirror is a mirror in use. Two configurations that use one upstream in different ways
// have one each, and share the stored content.
type openMirror struct {
	*mirror.Mirror
	client *upstream.Client
}

// mirror finds an open mirror, or opens it. It makes no request. s.mu is held.
func (s *Storage) mirrorLocked(spec MirrorSpec) (*openMirror, error) {
	if m := s.mirrors[spec.Key]; m != nil {
		return m, nil
	}
	m, err := s.trees.openMirror(spec, s.trees.keeping.evictor, &s.cache, s.log)
	if err != nil {
		return nil, err
	}
	if s.mirrors == nil {
		s.mirrors = map[string]*openMirror{}
	}
	s.mirrors[spec.Key] = m
	return m, nil
}

// openMirror opens a mirror over the trees, which are closed after it. It makes no request. shared
// may be nil.
func (t *Trees) openMirror(
	spec MirrorSpec, keeper mirror.Keeper, shared mirror.Shared, log *slog.Logger,
) (*openMirror, error) {
	config := spec.Upstream
	config.Log = log
	client, err := upstream.New(config)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", spec.Name, err)
	}
	opened, err := mirror.New(mirror.Config{
		Name: spec.Name, Local: t.Mirrors, State: t.State,
		Upstream: observe.Upstream(client, spec.Name, t.history.byHour()), Settings: spec.Settings, Keeper: keeper, Log: log,
		Shared: shared, Audience: spec.audience(),
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &openMirror{opened, client}, nil
}

func (m *openMirror) close() error { return errors.Join(m.Mirror.Close(), m.client.Close()) }

// closeMirrors ends all mirrors of the storage. The next mirror resumes their downloads. s.mu
// is held.
func (s *Storage) closeMirrorsLocked() error {
	var errs []error
	for _, m := range s.mirrors {
		errs = append(errs, m.close())
	}
	s.mirrors = nil
	return errors.Join(errs...)
}

// Join opens the mirrors, and returns the registry of all canonical names. owner is that of
// namespace.New. The storage must be acquired.
func (s *Storage) Join(owner func(repo string) (string, bool), specs []MirrorSpec) (*namespace.Union, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	registries := map[string]core.Registry{"": s.trees.pushes}
	for _, spec := range specs {
		m, err := s.mirrorLocked(spec)
		if err != nil {
			return nil, err
		}
		registries[spec.Name] = m
	}
	return namespace.New(owner, registries), nil
}
