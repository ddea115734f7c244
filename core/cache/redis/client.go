package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// setupTimeout bounds the setup of a connection: dialing, TLS, and asking sentinels
// or a cluster for the right server. The setup continues when the caller that began
// it has given up, so that the next caller finds it done.
const setupTimeout = 2 * time.Second

// Config is how Redis is reached.
type Config struct {
	// Addresses are host:port of one server or, with Sentinel or Cluster, of some
	// of the sentinels or nodes, which know the others.
	Addresses []string
	// Sentinel says that the addresses are those of sentinels, which know the
	// server.
	Sentinel *Sentinel
	// Cluster says that the addresses are those of a cluster's nodes.
	Cluster bool
	// User and Password log in, when they are not empty.
	User, Password string
	// DB is the number of the database. A cluster has only 0.
	DB int
	// TLS encrypts every connection, when it is not nil. Without a ServerName a
	// certificate must name the address that was dialed; sentinels and clusters
	// announce addresses of their own.
	TLS *tls.Config
	// Prefix is before every key, for a Redis that serves others too. Default:
	// defaultPrefix.
	Prefix string
	// Secret authenticates entries: registries with the same secret share them. At
	// least 16 bytes.
	Secret []byte
	// Timeout bounds each question. Default: DefaultTimeout.
	Timeout time.Duration
	// Log receives messages for the operator. Default: discard.
	Log *slog.Logger
	// Count is called with the result of each operation (get, put, delete): hit,
	// miss, ok, invalid (an entry that is not ours), error, or skipped (Redis
	// failed a moment ago). Default: none.
	Count func(operation, result string)
}

// Sentinel names the server that sentinels watch.
type Sentinel struct {
	// Master is the name under which they know it.
	Master string
	// User and Password log in to the sentinels, when they are not empty.
	User, Password string
}

// Check returns an error if parts of the configuration exclude each other.
func (c Config) Check() error {
	switch {
	case len(c.Addresses) == 0:
		return errors.New("missing address")
	case c.Sentinel != nil && c.Cluster:
		return errors.New("sentinel and cluster exclude each other: a cluster needs no sentinels")
	case c.Sentinel != nil && c.Sentinel.Master == "":
		return errors.New("sentinel needs the name of the master, such as: sentinel mymaster")
	case c.Cluster && c.DB != 0:
		return errors.New("db: a cluster has only database 0; remove db or cluster")
	case len(c.Addresses) > 1 && c.Sentinel == nil && !c.Cluster:
		return errors.New("several addresses need one more option: add cluster, or sentinel <name of the master>")
	case c.DB < 0:
		return errors.New("db must not be negative")
	}
	return nil
}

// complete fills in the defaults.
func (c Config) complete() Config {
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Count == nil {
		c.Count = func(string, string) {}
	}
	return c
}

// client makes the library's client for a complete configuration. It does not dial.
func (c Config) client() goredis.UniversalClient {
	quiet()
	setup := max(setupTimeout, c.Timeout)
	options := goredis.UniversalOptions{
		Addrs: c.Addresses, IsClusterMode: c.Cluster,
		Username: c.User, Password: c.Password, DB: c.DB, TLSConfig: c.TLS,
		// The client tries once, in the time that the caller has. The breaker does
		// the rest.
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: setup, ReadTimeout: setup, WriteTimeout: setup, PoolTimeout: c.Timeout,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if s := c.Sentinel; s != nil {
		options.MasterName, options.SentinelUsername, options.SentinelPassword = s.Master, s.User, s.Password
	}
	return goredis.NewUniversalClient(&options)
}

// quiet keeps the library from writing errors to the process's standard error; the
// breaker logs them once.
var quiet = sync.OnceFunc(func() { goredis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
