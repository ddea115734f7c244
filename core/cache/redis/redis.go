// Package redis shares what mirrors learned from their upstreams between processes:
// manifests, what a tag named and when, and what was not there. It is only a cache.
// Every entry can be learned again, and a Redis that is slow, gone, empty, or full of
// foreign data makes a registry slower but never wrong: each method is bounded by a
// fraction of a second, and returns no error. It may be one server, one that
// sentinels watch, or a cluster.
//
// Write access to Redis alone is not enough to forge an entry. An entry carries a MAC
// over its key, its end and its value, which needs the secret. The secret does not
// stop the replay of an old entry before its end; therefore maxAge bounds every end,
// and the mirror adds the time of check to its entries.
//
//	c, err := redis.New(redis.Config{Addresses: []string{"localhost:6379"}, Secret: secret})
//	defer c.Close()
//	m, err := mirror.New(mirror.Config{Shared: c, …})
package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eblume/caddy-registry/core"
)

const (
	// DefaultTimeout bounds each question. Redis on a local network answers in less
	// than a millisecond; an upstream, which it replaces, in a hundred or more.
	DefaultTimeout = 100 * time.Millisecond
	// defaultPrefix is before every key.
	defaultPrefix = "caddy-registry:"
	// minSecret is the least length of a secret, in bytes.
	minSecret = 16
	// maxEntry bounds the bytes that are read: a manifest as JSON may hold it, with
	// room for its media type. Redis may hold half a gigabyte under any key.
	maxEntry = headerSize + core.MaxManifestSize + 4<<10
)

// Cache stores entries in Redis. It is safe for concurrent use.
type Cache struct {
	client   goredis.UniversalClient
	sealer   sealer
	prefix   string
	timeout  time.Duration
	breakers []breaker   // one, or one for each range of a cluster's slots
	answered atomic.Bool // since New
	count    func(operation, result string)
}

// New makes a cache. It does not dial: a registry starts without its Redis. Errors:
// those of Config.Check, and a secret that is too short.
func New(c Config) (*Cache, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	if len(c.Secret) < minSecret {
		return nil, errors.New("redis: the secret must have at least 16 bytes")
	}
	c = c.complete()
	return &Cache{
		client: c.client(), sealer: newSealer(c.Secret), prefix: c.Prefix, timeout: c.Timeout, count: c.Count,
		breakers: newBreakers(c.Cluster, c.Log.With("redis", strings.Join(c.Addresses, " "))),
	}, nil
}

// Close ends the connections.
func (c *Cache) Close() error { return c.client.Close() }

// Get returns the value under key, unless it has expired, was not written with our
// secret, or Redis does not answer in time.
func (c *Cache) Get(ctx context.Context, key string) (value []byte, ok bool) {
	var entry string
	ctx, span := begin(ctx, "GETRANGE")
	result, ran := c.ask(ctx, "get", key, func(ctx context.Context, at string) (err error) {
		// GETRANGE bounds the bytes that are read, and returns nothing for a missing
		// key.
		entry, err = c.client.GetRange(ctx, at, 0, maxEntry).Result()
		return err
	})
	defer func() { c.end(span, "get", result) }()
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

// Put stores value under key for age, at most maxAge, with a precision of seconds.
func (c *Cache) Put(ctx context.Context, key string, value []byte, age time.Duration) {
	age = min(age, maxAge)
	if age < time.Second || headerSize+len(value) > maxEntry {
		return
	}
	entry := c.sealer.seal(key, value, time.Now().Add(age))
	ctx, span := begin(ctx, "SET")
	result, _ := c.ask(ctx, "put", key, func(ctx context.Context, at string) error {
		return c.client.Set(ctx, at, entry, age).Err()
	})
	c.end(span, "put", result)
}

// Delete removes the value under key. If Redis does not answer, it stays there until
// its end.
func (c *Cache) Delete(ctx context.Context, key string) {
	ctx, span := begin(ctx, "DEL")
	result, _ := c.ask(ctx, "delete", key, func(ctx context.Context, at string) error {
		return c.client.Del(ctx, at).Err()
	})
	c.end(span, "delete", result)
}

// begin begins the span of a command, with the names of OpenTelemetry's conventions for databases.
// The key is not recorded.
func begin(ctx context.Context, command string) (context.Context, core.Span) {
	ctx, span := core.BeginCall(ctx, command)
	span.SetString("db.system.name", "redis")
	span.SetString("db.operation.name", command)
	return ctx, span
}

// end counts how an operation ended, and ends its span.
func (c *Cache) end(span core.Span, operation, result string) {
	c.count(operation, result)
	span.SetString("registry.cache.result", result)
	if result == "error" {
		span.Fail("_OTHER")
	} else {
		span.End(nil)
	}
}

// ask asks Redis about a key, unless that failed a moment ago; at is the key with the
// prefix. A caller that gives up does not cancel the question, because that would
// look as if Redis had failed.
func (c *Cache) ask(ctx context.Context, operation, key string, question func(ctx context.Context, at string) error) (result string, ran bool) {
	at := c.prefix + key
	breaker := &c.breakers[0]
	if len(c.breakers) > 1 {
		breaker = &c.breakers[slotOf(at)/slotsShare]
	}
	may, probe := breaker.enter()
	if !may {
		return "skipped", false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	err := question(ctx, at)
	switch {
	case err == nil:
		breaker.leave(probe, nil)
		c.answered.Store(true)
		return "ok", true
	case errors.Is(err, goredis.ErrClosed):
		return "skipped", false // by a configuration that is gone
	case goredis.HasErrorPrefix(err, "WRONGTYPE"):
		breaker.leave(probe, nil) // it answered: the key holds a foreign list or hash
		return "invalid", true
	default:
		breaker.leave(probe, fmt.Errorf("%s: %w", operation, err))
		return "error", true
	}
}
