package caddymodule

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/core/cache/redis"
	"github.com/eblume/caddy-registry/core/mirror"
)

func init() {
	caddy.RegisterModule(RedisCache{})
}

// caches has the client of each Redis that a configuration of this process names.
var caches = caddy.NewUsagePool()

const redisPort = "6379"

// RedisCache shares what mirrors learned with other processes, behind the same memory
// that MemoryCache has: manifests, what tags name, and what is not there. While Redis
// is slow or gone the registry asks the upstreams itself. What an upstream hides from
// callers without credentials is never in it.
type RedisCache struct {
	// Address is host:port; a placeholder may stand for it. If it is empty there is
	// no Redis, and the cache is in memory. Default: empty.
	Address string `json:"address,omitempty"`
	// User of an access control list. Default: Redis's own default user.
	User string `json:"user,omitempty"`
	// Password is a placeholder, such as {env.NAME}, resolved at the start.
	// Default: none.
	Password string `json:"password,omitempty"`
	// DB is the number of the database. Default: 0.
	DB int `json:"db,omitempty"`
	// TLS encrypts the connection and checks the server's certificate with the
	// system's authorities. Default: false.
	TLS bool `json:"tls,omitempty"`
	// Prefix is before every key. Default: caddy-registry:
	Prefix string `json:"prefix,omitempty"`
	// Secret is a placeholder for at least 16 bytes. Registries with the same one
	// believe each other's entries; whoever knows it and can write to Redis can put
	// images into them. Default: a key of the storage's own, so that nothing is
	// shared between storages.
	Secret string `json:"secret,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (RedisCache) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci.cache.redis",
		New: func() caddy.Module { return new(RedisCache) },
	}
}

// Validate checks what can be known before the start.
func (c *RedisCache) Validate() error {
	if !strings.Contains(c.Address, "{") {
		if _, err := redisAddress(c.Address); err != nil {
			return err
		}
	}
	if c.DB < 0 {
		return fmt.Errorf("db: %d is negative", c.DB)
	}
	for option, text := range map[string]string{"password": c.Password, "secret": c.Secret} {
		if text == "" {
			continue
		}
		if err := checkSecret(text); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
	}
	return nil
}

// redisAddress adds the port that may be left away. Empty is empty.
func redisAddress(text string) (string, error) {
	if text = strings.TrimSpace(text); text == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), redisPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("address: %q is not a host and a port", text)
	}
	return net.JoinHostPort(host, port), nil
}

// Memory implements Cache.
func (*RedisCache) Memory() int64 { return defaultMemory }

// Open implements Cache. Configurations that mean the same have one client.
func (c *RedisCache) Open(secret func() ([]byte, error), log *slog.Logger) (mirror.Shared, func() error, error) {
	options := redis.Options{
		DB: c.DB, Prefix: c.Prefix, User: c.User, Log: log,
		Count: func(operation, result string) { cacheRequests.WithLabelValues(operation, result).Inc() },
	}
	var err error
	if options.Address, err = redisAddress(caddy.NewReplacer().ReplaceAll(c.Address, "")); err != nil || options.Address == "" {
		return nil, nil, err
	}
	if c.Password != "" {
		if options.Password, err = resolve("password", c.Password); err != nil {
			return nil, nil, err
		}
	}
	if c.Secret == "" {
		options.Secret, err = secret()
	} else {
		var text string
		text, err = resolve("secret", c.Secret)
		options.Secret = []byte(strings.TrimSpace(text)) // a file often ends in a line end
	}
	if err != nil {
		return nil, nil, err
	}
	if c.TLS {
		host, _, _ := net.SplitHostPort(options.Address)
		options.TLS = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q %q %q %t", options.Address, options.DB,
		options.User, options.Password, options.Prefix, options.Secret, c.TLS)))
	client, _, err := caches.LoadOrNew(key, func() (caddy.Destructor, error) {
		opened, err := redis.New(options)
		return pooledRedis{opened}, err
	})
	if err != nil {
		return nil, nil, err
	}
	return client.(pooledRedis), func() error { _, err := caches.Delete(key); return err }, nil
}

type pooledRedis struct{ *redis.Cache }

// Destruct closes the client with its last configuration.
func (c pooledRedis) Destruct() error { return c.Close() }

// UnmarshalCaddyfile reads the block. Syntax:
//
//	cache redis {
//	    address  [<host[:port]>]
//	    user     <name>
//	    password <placeholder>
//	    db       <number>
//	    tls
//	    prefix   <text>
//	    secret   <placeholder>
//	}
//
// An address without a value is no Redis: {$REGISTRY_REDIS:} may be empty.
func (c *RedisCache) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	texts := map[string]*string{"user": &c.User, "password": &c.Password, "prefix": &c.Prefix, "secret": &c.Secret}
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("option %s is here twice", option)
		}
		seen[option] = true
		args := d.RemainingArgs()
		to := texts[option]
		switch {
		case option == "address" && len(args) == 0:
		case option == "address" && len(args) == 1:
			c.Address = args[0]
		case option == "tls" && len(args) == 0:
			c.TLS = true
		case option == "db" && len(args) == 1:
			db, err := strconv.Atoi(args[0])
			if err != nil {
				return d.Errf("db: %q is not a number", args[0])
			}
			c.DB = db
		case to != nil && len(args) == 1:
			*to = args[0]
		case to == nil && option != "address" && option != "tls" && option != "db":
			return d.Errf("unknown option %q of cache redis", option)
		default:
			return d.ArgErr()
		}
	}
	if err := c.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

var (
	_ Cache                 = (*RedisCache)(nil)
	_ caddy.Validator       = (*RedisCache)(nil)
	_ caddyfile.Unmarshaler = (*RedisCache)(nil)
)
