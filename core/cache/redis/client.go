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

// setupTimeout bounds what a connection needs before its first question: the way
// there, TLS, and what sentinels or a cluster say about who is asked. It goes on
// when the question that began it has been given up, and the next one finds it done.
const setupTimeout = 2 * time.Second

// Options are how Redis is reached.
type Options struct {
	// Addresses are host:port: one server's; or, with Sentinel or Cluster, those of
	// some of the sentinels or nodes, which know the others.
	Addresses []string
	// Sentinel says that the addresses are of sentinels, who know the server.
	Sentinel *Sentinel
	// Cluster says that the addresses are of a cluster's nodes.
	Cluster bool
	// User and Password log in, when they are not empty.
	User, Password string
	// DB is the number of the database. A cluster has only 0.
	DB int
	// TLS encrypts every connection, when it is not nil. Without a ServerName a
	// certificate must name the host as it was called: sentinels and clusters tell
	// addresses of their own.
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

// Sentinel names the server that sentinels watch.
type Sentinel struct {
	// Master is the name that they have for it.
	Master string
	// User and Password log in to the sentinels, when they are not empty.
	User, Password string
}

// Check refuses options that do not go together.
func (o Options) Check() error {
	switch {
	case len(o.Addresses) == 0:
		return errors.New("an address is needed")
	case o.Sentinel != nil && o.Cluster:
		return errors.New("sentinel and cluster exclude each other: a cluster looks after itself")
	case o.Sentinel != nil && o.Sentinel.Master == "":
		return errors.New("sentinel needs the name that the sentinels have for the master, such as: sentinel mymaster")
	case o.Cluster && o.DB != 0:
		return errors.New("db: a cluster has no other database than 0; remove db or cluster")
	case len(o.Addresses) > 1 && o.Sentinel == nil && !o.Cluster:
		return errors.New("several addresses are those of a cluster's nodes or of sentinels: add cluster, or sentinel <name of the master>")
	case o.DB < 0:
		return errors.New("db: it is negative")
	}
	return nil
}

// complete fills in the defaults.
func (o Options) complete() Options {
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
	return o
}

// client makes the library's client for complete options. It dials nothing.
func (o Options) client() goredis.UniversalClient {
	quiet()
	setup := max(setupTimeout, o.Timeout)
	options := goredis.UniversalOptions{
		Addrs: o.Addresses, IsClusterMode: o.Cluster,
		Username: o.User, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
		// One try, in the time that the caller has. The breaker does the rest.
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

// quiet keeps the library from writing to the process's standard error what the
// breaker says once.
var quiet = sync.OnceFunc(func() { goredis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
