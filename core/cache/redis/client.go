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

// Options say how Redis is reached.
type Options struct {
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

// Check returns an error if the options exclude each other.
func (o Options) Check() error {
	switch {
	case len(o.Addresses) == 0:
		return errors.New("missing address")
	case o.Sentinel != nil && o.Cluster:
		return errors.New("sentinel and cluster exclude each other: a cluster needs no sentinels")
	case o.Sentinel != nil && o.Sentinel.Master == "":
		return errors.New("sentinel needs the name of the master, such as: sentinel mymaster")
	case o.Cluster && o.DB != 0:
		return errors.New("db: a cluster has only database 0; remove db or cluster")
	case len(o.Addresses) > 1 && o.Sentinel == nil && !o.Cluster:
		return errors.New("several addresses need one more option: add cluster, or sentinel <name of the master>")
	case o.DB < 0:
		return errors.New("db must not be negative")
	}
	return nil
}

// complete fills in the defaults.
func (o Options) complete() Options {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
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
	return o
}

// client makes the library's client for complete options. It does not dial.
func (o Options) client() goredis.UniversalClient {
	quiet()
	setup := max(setupTimeout, o.Timeout)
	options := goredis.UniversalOptions{
		Addrs: o.Addresses, IsClusterMode: o.Cluster,
		Username: o.User, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
		// The client tries once, in the time that the caller has. The breaker does
		// the rest.
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: setup, ReadTimeout: setup, WriteTimeout: setup, PoolTimeout: o.Timeout,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if s := o.Sentinel; s != nil {
		options.MasterName, options.SentinelUsername, options.SentinelPassword = s.Master, s.User, s.Password
	}
	return goredis.NewUniversalClient(&options)
}

// quiet keeps the library from writing errors to the process's standard error; the
// breaker logs them once.
var quiet = sync.OnceFunc(func() { goredis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
