package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core/bucket"
)

// callers is what a storage knows about who asks. It is open as long as the storage.
type callers struct {
	store    *identity.Store
	tokens   *token.Signer
	sessions *session.Store
	logins   observe.Logins
	plain    observe.PlainSenders
	log      *slog.Logger

	mu      sync.Mutex         // guards signIns
	signIns map[string]*signIn // by signInSpec.key
}

// openCallers reads keys, users, signing keys and sessions. Its caller closes the callers before
// the storage.
func openCallers(ctx context.Context, b bucket.Bucket, log *slog.Logger) (*callers, error) {
	store, err := identity.Open(ctx, b, identity.Options{Log: log})
	if err != nil {
		return nil, err
	}
	tokens, err := token.Open(ctx, b, log, nil)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	sessions, err := session.Open(ctx, b, log, nil)
	if err != nil {
		return nil, errors.Join(err, tokens.Close(), store.Close())
	}
	return &callers{store: store, tokens: tokens, sessions: sessions, logins: observe.NewLogins(nil), plain: observe.NewPlainSenders(nil), log: log, signIns: map[string]*signIn{}}, nil
}

func (c *callers) close() error {
	if c == nil {
		return nil
	}
	return errors.Join(c.tokens.Close(), c.store.Close())
}
