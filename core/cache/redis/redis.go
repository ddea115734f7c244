// Package redis shares what mirrors learned from their upstreams between processes:
// manifests, what a tag named and when, and what was not there. It holds no truth.
// Every entry can be learned again, and a Redis that is slow, gone, empty, or full
// of what others wrote makes a registry slower and never wrong: each method is
// bounded by a fraction of a second, and returns no error.
//
// Nobody who can only write to Redis is believed. An entry carries a MAC over its
// key, its end and its value; without the secret there is no entry. What the secret
// does not stop is an old entry put back before its end, which is why MaxAge bounds
// every end, and why the mirror adds the time of check to what it keeps.
//
//	c, err := redis.New(redis.Options{Address: "localhost:6379", Secret: secret})
//	defer c.Close()
//	m, err := mirror.New(mirror.Config{Shared: c, …})
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/eblume/caddy-registry/core"
)

const (
	// DefaultTimeout bounds each question. Redis on a local network answers in less
	// than a millisecond; an upstream, which is what it saves, in some hundred.
	DefaultTimeout = 100 * time.Millisecond
	// DefaultPrefix is before every key.
	DefaultPrefix = "caddy-registry:"
	// minSecret is what a person may choose as a secret, in bytes.
	minSecret = 16
	// maxEntry bounds what is read: a manifest as JSON may hold it, with room for
	// its media type. Redis may hold half a gigabyte under any key.
	maxEntry = headerSize + core.MaxManifestSize + 4<<10
)

// Options are how Redis is reached.
type Options struct {
	// Address is host:port.
	Address string
	// User and Password log in, when they are not empty.
	User, Password string
	// DB is the number of the database.
	DB int
	// TLS encrypts the connection, when it is not nil.
	TLS *tls.Config
	// Prefix is before every key, for a Redis that serves others too. Default:
	// DefaultPrefix.
	Prefix string
	// Secret authenticates entries: those who have the same one share them. At
	// least 16 bytes.
	Secret []byte
	// Timeout bounds each question. Default: DefaultTimeout.
	Timeout time.Duration
	// Log receives what an operator should know. Default: discard.
	Log *slog.Logger
	// Count is told of each operation (get, put, delete) how it ended: hit, miss,
	// ok, invalid (an entry that is not ours), error, or skipped (Redis failed a
	// moment ago). Default: nobody.
	Count func(operation, result string)
}

// Cache is entries in Redis. It is safe for concurrent use.
type Cache struct {
	client  goredis.UniversalClient
	sealer  sealer
	prefix  string
	timeout time.Duration
	breaker breaker
	count   func(operation, result string)
}

// New makes a cache. It dials nothing: a registry starts without its Redis.
func New(o Options) (*Cache, error) {
	if o.Address == "" {
		return nil, errors.New("redis: an address is needed")
	}
	if len(o.Secret) < minSecret {
		return nil, errors.New("redis: the secret must have at least 16 bytes")
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Count == nil {
		o.Count = func(string, string) {}
	}
	quiet()
	return &Cache{
		client: goredis.NewUniversalClient(&goredis.UniversalOptions{
			Addrs:    []string{o.Address},
			Username: o.User, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
			// One try, in the time that the caller has. The breaker does the rest.
			MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
			DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
			DisableIdentity:          true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}),
		sealer: newSealer(o.Secret), prefix: o.Prefix, timeout: o.Timeout,
		breaker: breaker{log: o.Log.With("redis", o.Address)}, count: o.Count,
	}, nil
}

// quiet keeps the library from writing to the process's standard error what the
// breaker says once.
var quiet = sync.OnceFunc(func() { goredis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Close ends the connections.
func (c *Cache) Close() error { return c.client.Close() }

// Get returns what was put under key, unless it is over, or not written with our
// secret, or Redis does not answer in time.
func (c *Cache) Get(ctx context.Context, key string) (value []byte, ok bool) {
	var entry string
	result, ran := c.ask(ctx, "get", func(ctx context.Context) (err error) {
		// GETRANGE bounds what is read, and says nothing of what is not there.
		entry, err = c.client.GetRange(ctx, c.prefix+key, 0, maxEntry).Result()
		return err
	})
	defer func() { c.count("get", result) }()
	switch {
	case !ran || result != "ok":
		return nil, false
	case entry == "":
		result = "miss"
		return nil, false
	}
	value, err := c.sealer.open(key, []byte(entry), time.Now())
	if err != nil {
		result = "invalid"
		if errors.Is(err, errExpired) {
			result = "miss"
		}
		return nil, false
	}
	result = "hit"
	return value, true
}

// Put keeps value under key for age, at most MaxAge. Seconds are its precision.
func (c *Cache) Put(ctx context.Context, key string, value []byte, age time.Duration) {
	age = min(age, MaxAge)
	if age < time.Second || headerSize+len(value) > maxEntry {
		return
	}
	entry := c.sealer.seal(key, value, time.Now().Add(age))
	result, _ := c.ask(ctx, "put", func(ctx context.Context) error {
		return c.client.Set(ctx, c.prefix+key, entry, age).Err()
	})
	c.count("put", result)
}

// Delete drops what was put under key. Without Redis it stays there until its end.
func (c *Cache) Delete(ctx context.Context, key string) {
	result, _ := c.ask(ctx, "delete", func(ctx context.Context) error {
		return c.client.Del(ctx, c.prefix+key).Err()
	})
	c.count("delete", result)
}

// ask asks Redis, unless that failed a moment ago. A caller that gives up does not
// cut it short, because that would look as if Redis had failed.
func (c *Cache) ask(ctx context.Context, operation string, question func(ctx context.Context) error) (result string, ran bool) {
	if !c.breaker.enter() {
		return "skipped", false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	err := question(ctx)
	switch {
	case err == nil:
		c.breaker.leave(nil)
		return "ok", true
	case errors.Is(err, goredis.ErrClosed):
		return "skipped", false // by a configuration that is gone
	case goredis.HasErrorPrefix(err, "WRONGTYPE"):
		c.breaker.leave(nil) // it answered: somebody else's list or hash is there
		return "invalid", true
	default:
		c.breaker.leave(fmt.Errorf("%s: %w", operation, err))
		return "error", true
	}
}
