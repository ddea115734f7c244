package running

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror"
)

// cacheSecretKey is the key of the storage's own secret for shared entries.
const cacheSecretKey = "cache/secret"

// CacheSecret reads the storage's secret for shared entries, or makes it. A power cut can lose
// it, and with it only shared entries, which can be learned again. So no caller waits for the
// disk.
func (t *Trees) CacheSecret(ctx context.Context) ([]byte, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	_, err := t.identity.Put(ctx, cacheSecretKey, secret, bucket.Condition{IfAbsent: true})
	if errors.Is(err, bucket.ErrExist) {
		secret, _, err = t.identity.Get(ctx, cacheSecretKey)
	}
	return secret, err
}

// cacheLink is the shared cache of all mirrors of a storage: that of the configuration that was
// started last.
type cacheLink struct{ to atomic.Pointer[mirror.Shared] }

func (l *cacheLink) set(shared mirror.Shared) {
	if shared == nil {
		l.to.Store(nil)
		return
	}
	l.to.Store(&shared)
}

func (l *cacheLink) Get(ctx context.Context, key string) ([]byte, bool) {
	if to := l.to.Load(); to != nil {
		return (*to).Get(ctx, key)
	}
	return nil, false
}

func (l *cacheLink) Put(ctx context.Context, key string, value []byte, age time.Duration) {
	if to := l.to.Load(); to != nil {
		(*to).Put(ctx, key, value, age)
	}
}

func (l *cacheLink) Delete(ctx context.Context, key string) {
	if to := l.to.Load(); to != nil {
		(*to).Delete(ctx, key)
	}
}

var _ mirror.Shared = (*cacheLink)(nil)
