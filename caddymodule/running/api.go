package running

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/api"
	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// operator is the policy for commands, whose user could as well change the files. They do not make
// a mirror fetch.
type operator struct{}

func (operator) Allows(_ policies.Identity, action policies.Action, _ string) bool {
	return action != policies.Fetch
}

func (operator) AllowsEverywhere(policies.Identity, policies.Action) bool { return true }

var byCommand = policies.Identity{User: control.ByCommand}

// asOperator answers as the API does, with everything allowed.
func asOperator(registry core.Registry, log *slog.Logger, mirror func(repo string) string) http.Handler {
	return &api.API{
		Registry: policies.Guard(registry, operator{}, byCommand), Mirror: mirror, Log: log,
		Fail: func(w http.ResponseWriter, r *http.Request, _ string, err error) {
			wire.Fail(w, r, wire.Request{}, err, wire.Options{Log: log})
		},
	}
}

// API answers as package api does about trees that no process serves. Without a configuration it
// is not known which names belong to mirrors: what the mirrors' tree holds does.
func (t *Trees) API(log *slog.Logger) http.Handler {
	const mirrors = "mirrors"
	owner := func(repo string) (string, bool) {
		if _, err := t.Mirrors.RepositoryRow(context.Background(), repo); err == nil {
			return mirrors, true
		}
		return "", true
	}
	union := namespace.New(owner, map[string]core.Registry{"": t.Private, mirrors: kept{t.Mirrors}})
	return asOperator(union, log, func(repo string) string {
		if of, _ := owner(repo); of == "" {
			return ""
		}
		mirror, _, _ := strings.Cut(repo, "/")
		return mirror
	})
}

// kept is what mirrors hold while they are not open: it is not deleted, because a mirror also
// remembers it elsewhere.
type kept struct{ core.Registry }

func (kept) DeleteTag(_ context.Context, repo, _ string) error { return errKept(repo) }

func (kept) DeleteManifest(_ context.Context, repo string, _ digest.Digest) error {
	return errKept(repo)
}

func errKept(repo string) error {
	return fmt.Errorf("%w: %s belongs to a mirror, and the registry does not run; use: caddy-registry registry purge", core.ErrUnsupported, repo)
}

// serveAPI answers commands in the running process, about the names of the configuration that
// started last.
func (s *Storage) serveAPI(w http.ResponseWriter, r *http.Request) {
	trees, err := s.Acquire(r.Context())
	if err != nil {
		wire.Fail(w, r, wire.Request{}, err, wire.Options{})
		return
	}
	defer s.Release()
	s.mu.Lock()
	var last *Settings
	if n := len(s.settings); n > 0 {
		last = s.settings[n-1]
	}
	s.mu.Unlock()
	if last == nil { // the process is starting
		trees.API(s.log).ServeHTTP(w, r)
		return
	}
	union, err := s.Join(last.Owner, last.Mirrors)
	if err != nil {
		wire.Fail(w, r, wire.Request{}, fmt.Errorf("%w: %w", core.ErrUnavailable, err), wire.Options{})
		return
	}
	asOperator(observe.Changes(union, last.Audit, observe.By(byCommand, "")), s.log, func(repo string) string {
		mirror, _ := last.Owner(repo)
		return mirror
	}).ServeHTTP(w, r)
}
