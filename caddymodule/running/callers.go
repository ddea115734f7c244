package running

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

// Callers holds the identities, tokens and sessions of one open storage. It is open as long as
// the storage.
type Callers struct {
	Identity *identity.Store
	Tokens   *token.Signer
	Sessions *session.Store
	// Logins are the recorded credentials, and Plain the addresses that sent credentials over
	// plain HTTP.
	Logins observe.Logins
	Plain  observe.PlainSenders

	log *slog.Logger

	mu      sync.Mutex         // guards signIns
	signIns map[string]*SignIn // by SignInSpec.Key
}

// openCallers reads keys, users, signing keys and sessions. Its caller closes the callers before
// the storage.
func openCallers(ctx context.Context, b bucket.Bucket, log *slog.Logger) (*Callers, error) {
	store, err := identity.Open(ctx, b, identity.Config{Log: log})
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
	return &Callers{Identity: store, Tokens: tokens, Sessions: sessions, Logins: observe.NewLogins(nil), Plain: observe.NewPlainSenders(nil), log: log, signIns: map[string]*SignIn{}}, nil
}

func (c *Callers) close() error {
	if c == nil {
		return nil
	}
	return errors.Join(c.Tokens.Close(), c.Identity.Close())
}
