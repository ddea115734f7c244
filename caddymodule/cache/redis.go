package cache

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/option"
	"github.com/eblume/caddy-registry/core/cache/redis"
	"github.com/eblume/caddy-registry/core/mirror"
)

func init() {
	caddy.RegisterModule(Redis{})
}

// caches has the client of each Redis that a configuration of this process names.
var caches = caddy.NewUsagePool()

const redisPort, sentinelPort = "6379", "26379"

// Redis shares what mirrors learned with other processes, behind the same memory
// that Memory has: manifests, what tags name, and what is not there. While Redis
// is slow or gone the registry asks the upstreams itself. What an upstream hides from
// callers without credentials is never in it.
type Redis struct {
	// Addresses are host:port: of one server, or of some of the sentinels, or of some
	// of the nodes of a cluster. A placeholder may stand for one or more of them. If
	// there are none there is no Redis, and the cache is in memory. Default: none.
	Addresses []string `json:"address,omitempty"`
	// Sentinel says that the addresses are of sentinels. Default: they are not.
	Sentinel *Sentinel `json:"sentinel,omitempty"`
	// Cluster says that the addresses are of a cluster. Default: false.
	Cluster bool `json:"cluster,omitempty"`
	// User of an access control list. Default: Redis's own default user.
	User string `json:"user,omitempty"`
	// Password is a placeholder, such as {env.NAME}, resolved at the start.
	// Default: none.
	Password string `json:"password,omitempty"`
	// DB is the number of the database; a cluster has only 0. Default: 0.
	DB int `json:"db,omitempty"`
	// TLS encrypts every connection, and checks the certificates. Default: no TLS.
	TLS *TLS `json:"tls,omitempty"`
	// Prefix is before every key. Default: caddy-registry:
	Prefix string `json:"prefix,omitempty"`
	// Secret is a placeholder for at least 16 bytes. Registries with the same one
	// believe each other's entries; whoever knows it and can write to Redis can put
	// images into them. Default: a key of the storage's own, so that nothing is
	// shared between storages.
	Secret string `json:"secret,omitempty"`
	// Size bounds the manifests and tags in the memory of this process, such as 64MiB,
	// as that of Memory does. Default: 256MiB.
	Size string `json:"size,omitempty"`
}

// Sentinel is a Redis that sentinels watch: they say who is its master.
type Sentinel struct {
	// Master is the name that the sentinels have for it.
	Master string `json:"master"`
	// User of the sentinels' own access control list. Default: their default user.
	User string `json:"user,omitempty"`
	// Password of the sentinels, a placeholder. Default: none; the password of the
	// servers is another.
	Password string `json:"password,omitempty"`
}

// TLS is how a connection to Redis is encrypted.
type TLS struct {
	// CA is a file of the authorities that are believed. Default: the system's.
	CA string `json:"ca,omitempty"`
	// ClientCertificate is presented to Redis. Default: none.
	ClientCertificate *option.ClientCertificate `json:"client_certificate,omitempty"`
	// ServerName is the name that every certificate must have. Default: the host as
	// it is called, which sentinels and clusters often tell as an IP address.
	ServerName string `json:"server_name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "oci.cache.redis",
		New: func() caddy.Module { return new(Redis) },
	}
}

// Validate checks what can be known before the start. It reads no file.
func (c *Redis) Validate() error {
	literal := *c
	literal.Addresses = nil
	for _, address := range c.Addresses {
		if strings.Contains(address, "{") {
			address = "resolved.at.the.start"
		}
		literal.Addresses = append(literal.Addresses, address)
	}
	o, err := literal.config(caddy.NewEmptyReplacer())
	if err != nil {
		return err
	}
	// Options for a Redis that may not be there are checked too: {$REGISTRY_REDIS:}.
	if len(o.Addresses) == 0 {
		o.Addresses = []string{"none"}
	}
	if err := o.Check(); err != nil {
		return err
	}
	if c.TLS != nil {
		if pair := c.TLS.ClientCertificate; pair != nil && (pair.Certificate == "" || pair.Key == "") {
			return errors.New("client_certificate: a certificate and a key are needed")
		}
	}
	if _, err := memorySize(c.Size); err != nil {
		return err
	}
	for _, secret := range c.secrets() {
		if *secret.text == "" {
			continue
		}
		if err := option.CheckSecret(*secret.text); err != nil {
			return fmt.Errorf("%s: %w", secret.option, err)
		}
	}
	return nil
}

// redisSecret is an option whose value is a placeholder.
type redisSecret struct {
	option string
	text   *string
}

func (c *Redis) secrets() []redisSecret {
	all := []redisSecret{{"password", &c.Password}, {"secret", &c.Secret}}
	if c.Sentinel != nil {
		all = append(all, redisSecret{"password of sentinel", &c.Sentinel.Password})
	}
	return all
}

// config is that of the client without its secrets. Its addresses are none if
// their placeholders resolve to nothing.
func (c *Redis) config(replace *caddy.Replacer) (redis.Config, error) {
	o := redis.Config{DB: c.DB, Prefix: c.Prefix, User: c.User, Cluster: c.Cluster}
	port := redisPort
	if c.Sentinel != nil {
		port = sentinelPort
		o.Sentinel = &redis.Sentinel{Master: c.Sentinel.Master, User: c.Sentinel.User}
	}
	for _, text := range c.Addresses {
		for _, one := range strings.Fields(replace.ReplaceAll(text, "")) {
			address, err := redisAddress(one, port)
			if err != nil {
				return o, err
			}
			o.Addresses = append(o.Addresses, address)
		}
	}
	return o, nil
}

// redisAddress adds the port that may be left away.
func redisAddress(text, defaultPort string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), defaultPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("address: %q is not a host and a port", text)
	}
	return net.JoinHostPort(host, port), nil
}

// Memory implements Module.
func (c *Redis) Memory() int64 {
	size, _ := memorySize(c.Size) // Validate has seen the error
	return size
}

// connection is what is needed to reach Redis, with its secrets and files. fingerprint
// is of all that makes one connection another. There is none without an address.
func (c *Redis) connection() (o redis.Config, fingerprint string, err error) {
	if o, err = c.config(caddy.NewReplacer()); err != nil || len(o.Addresses) == 0 {
		return o, "", err
	}
	if err := o.Check(); err != nil {
		return o, "", err
	}
	if c.Password != "" {
		if o.Password, err = option.Resolve("password", c.Password); err != nil {
			return o, "", err
		}
	}
	if c.Sentinel != nil && c.Sentinel.Password != "" {
		if o.Sentinel.Password, err = option.Resolve("password of sentinel", c.Sentinel.Password); err != nil {
			return o, "", err
		}
	}
	files := ""
	if c.TLS != nil {
		if o.TLS, files, err = c.TLS.load(); err != nil {
			return o, "", fmt.Errorf("tls: %w", err)
		}
	}
	all := []any{o.Addresses, o.Cluster, o.User, o.Password, o.DB, o.Prefix, files}
	if o.Sentinel != nil {
		all = append(all, *o.Sentinel)
	}
	return o, fmt.Sprintf("%#v", all), nil
}

// load reads the files, and returns what they are beside what they mean.
func (t *TLS) load() (config *tls.Config, files string, err error) {
	config = &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	var pem []byte
	if config.RootCAs, pem, err = option.Authorities(t.CA); err != nil {
		return nil, "", err
	}
	pair, err := t.ClientCertificate.Load()
	if err != nil {
		return nil, "", err
	}
	said := []string{"tls", t.ServerName, string(pem)}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
		for _, certificate := range pair.Certificate {
			said = append(said, string(certificate))
		}
	}
	return config, fmt.Sprintf("%q", said), nil
}

// Open implements Module. Configurations that mean the same have one client.
func (c *Redis) Open(secret func() ([]byte, error), log *slog.Logger) (mirror.Shared, func() error, error) {
	config, fingerprint, err := c.connection()
	if err != nil || len(config.Addresses) == 0 {
		return nil, nil, err
	}
	if c.Secret == "" {
		config.Secret, err = secret()
	} else {
		var text string
		text, err = option.Resolve("secret", c.Secret)
		config.Secret = []byte(strings.TrimSpace(text)) // a file often ends in a line end
	}
	if err != nil {
		return nil, nil, err
	}
	config.Log = log
	config.Count = observe.CountCache
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q %q", fingerprint, config.Secret)))
	client, _, err := caches.LoadOrNew(key, func() (caddy.Destructor, error) {
		opened, err := redis.New(config)
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

var (
	_ Module          = (*Redis)(nil)
	_ caddy.Validator = (*Redis)(nil)
)
