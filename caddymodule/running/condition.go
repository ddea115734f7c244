package running

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/instance"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/usage"
	"github.com/eblume/caddy-registry/core/verify"
)

// serveCondition reports the condition of the open storage.
func (s *Storage) serveCondition(w http.ResponseWriter, r *http.Request) {
	trees, err := s.Acquire(r.Context())
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	defer s.Release()
	c, err := trees.Condition(r.Context(), r.URL.Query()["mirror"])
	c.Process, c.Instance, c.Held, c.Learned = os.Getpid(), instance.ID, s.held(), s.learned()
	control.Answer(w, c, err)
}

// learned returns what the process knows about each mirror's upstream.
func (s *Storage) learned() map[string][]upstream.Learned {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]upstream.Learned{}
	if len(s.settings) == 0 {
		return all
	}
	for _, spec := range s.settings[len(s.settings)-1].Mirrors {
		if m := s.mirrors[spec.Key]; m != nil {
			all[spec.Name] = m.client.Learned()
		}
	}
	return all
}

// Condition returns the condition of the trees and of the mirrors with these names.
func (t *Trees) Condition(ctx context.Context, names []string) (c control.Condition, err error) {
	var counter *usage.Counter
	if t.keeping != nil {
		counter = t.keeping.usage
	} else {
		counter = usage.New(t.State, nil)
		defer func() { err = errors.Join(err, counter.Close()) }()
	}
	c = control.Condition{MirrorsDir: t.mirrorsDisk, Usage: map[string][]usage.Use{}, Gone: map[string]control.GoneTags{}, Samples: map[string]string{}}
	damaged, err := t.damagedIdentity(ctx)
	if err != nil {
		return c, err
	}
	c.Damaged = damaged
	if c.Keys, err = keysThatEnd(ctx, t.identity); err != nil {
		return c, fmt.Errorf("identity: %w", err)
	}
	stats := t.verifying.Stats()
	c.Quarantine, c.Verified = stats.Quarantine, stats.Finished
	c.Records = map[string]control.Records{}
	for _, tree := range []verify.Tree{{Name: storage.PrivateTree, Store: t.Private}, {Name: storage.MirrorsTree, Store: t.Mirrors}} {
		digests, err := quarantined(ctx, tree.Store)
		if err != nil {
			return c, err
		}
		c.Quarantined = append(c.Quarantined, digests...)
		if c.Records[tree.Name], err = lookAtRecords(ctx, tree.Store); err != nil {
			return c, err
		}
	}
	for _, name := range names {
		uses, err := counter.Of(ctx, name)
		if err != nil {
			return c, err
		}
		c.Usage[name] = uses
		n, more, err := mirror.CountGone(ctx, t.State, name)
		if err != nil {
			return c, err
		}
		c.Gone[name] = control.GoneTags{Tags: n, More: more}
		for repo, err := range t.Mirrors.Repositories(ctx, name+"/") {
			if err != nil {
				return c, err
			}
			if remote, ok := strings.CutPrefix(repo, name+"/"); ok {
				c.Samples[name] = remote
			}
			break
		}
	}
	return c, nil
}

// damagedIdentity returns the damaged records of identity, each with a remedy.
func (t *Trees) damagedIdentity(ctx context.Context) (damaged []string, err error) {
	for _, look := range []func(context.Context, bucket.Bucket) ([]string, error){identity.Examine, token.Examine, session.Examine} {
		some, err := look(ctx, t.identity)
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		damaged = append(damaged, some...)
	}
	return damaged, nil
}

// keysThatEnd reads the keys of a storage, which another process, or this one, may have open.
func keysThatEnd(ctx context.Context, b bucket.Bucket) (ending []control.EndingKey, err error) {
	store, err := identity.Open(ctx, b, identity.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	now := time.Now()
	for _, key := range store.Keys().List("") {
		if key.Revoked.IsZero() && (!key.Active(now) || key.Expiring(now)) {
			ending = append(ending, control.EndingKey{ID: key.ID, Name: key.Name, User: key.User, Expires: key.Expires})
		}
	}
	return ending, nil
}
