package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/core/globs"
)

// MirrorSpecs reads the secrets of all mirrors. private are the registry's own names.
func (r *Registry) MirrorSpecs(private globs.Globs) ([]running.MirrorSpec, error) {
	var specs []running.MirrorSpec
	for _, name := range slices.Sorted(maps.Keys(r.Mirrors)) {
		m := r.Mirrors[name]
		spec := running.MirrorSpec{Name: name, Upstream: m.upstream(name), Settings: m.settings(name, private)}
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

// identify returns a digest of everything that defines the client, including the content of its
// files: a renewed certificate is used after the next load.
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
