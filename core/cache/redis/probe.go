package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Found is the result of a probe of Redis. Fields that the user of an access control
// list may not ask for stay empty, without an error.
type Found struct {
	// Latency is the median duration of several questions.
	Latency time.Duration
	// Skew is how far Redis's clock is ahead of ours. Dated reports whether it is
	// known.
	Skew  time.Duration
	Dated bool
	// Nodes are the servers that were examined: one, or the masters of a cluster.
	Nodes []Node
}

// Node is one server, as it describes itself.
type Node struct {
	Version string
	// Used and Most are bytes of memory; Most is 0 if it is unlimited.
	Used, Most int64
	// Policy is the eviction policy, such as allkeys-lru or noeviction.
	Policy string
	// Evicted counts the keys evicted since the server was started.
	Evicted int64
}

const (
	// probeTimeout bounds one question of a probe, for which a person waits.
	probeTimeout = 3 * time.Second
	// probes is how often the latency is measured.
	probes = 9
)

// Probe examines Redis for a person: it connects as a Cache does, logs in, writes,
// reads and deletes a key, and asks for information about the server. It uses neither
// the secret nor an entry. Errors are sentences that name a remedy.
func (c Config) Probe(ctx context.Context) (found Found, err error) {
	if err := c.Check(); err != nil {
		return found, err
	}
	c = c.complete()
	c.Timeout = probeTimeout
	client := c.client()
	defer client.Close()
	if err := c.use(ctx, client); err != nil {
		return found, c.explain(err)
	}
	var took []time.Duration
	for range probes {
		begun := time.Now()
		if err := client.GetRange(ctx, c.Prefix+"doctor", 0, 1).Err(); err != nil {
			return found, c.explain(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	found.Latency = took[len(took)/2]
	asked := time.Now()
	if at, err := client.Time(ctx).Result(); err == nil {
		found.Skew, found.Dated = at.Sub(asked.Add(time.Since(asked)/2)), true
	}
	cluster, ok := client.(*goredis.ClusterClient)
	if !ok {
		if node, ok := info(ctx, client); ok {
			found.Nodes = []Node{node}
		}
		return found, nil
	}
	if state, err := cluster.ClusterInfo(ctx).Result(); err == nil && !strings.Contains(state, "cluster_state:ok") {
		return found, errors.New("some slots of the cluster have no node (cluster_state is not ok): their entries are not shared until the nodes are back")
	}
	var mu sync.Mutex // guards found.Nodes
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *goredis.Client) error {
		if node, ok := info(ctx, master); ok {
			mu.Lock()
			defer mu.Unlock()
			found.Nodes = append(found.Nodes, node)
		}
		return nil
	})
	return found, c.explain(err)
}

// use writes, reads and deletes a key of its own, as a Cache does.
func (c Config) use(ctx context.Context, client goredis.UniversalClient) error {
	key := c.Prefix + "doctor/" + rand.Text()
	if err := client.Set(ctx, key, "x", time.Minute).Err(); err != nil {
		return err
	}
	if _, err := client.GetRange(ctx, key, 0, 1).Result(); err != nil {
		return err
	}
	return client.Del(ctx, key).Err()
}

// info returns the server's description of itself, if it gives one.
func info(ctx context.Context, client interface {
	Info(ctx context.Context, section ...string) *goredis.StringCmd
}) (node Node, ok bool) {
	text, err := client.Info(ctx).Result()
	if err != nil {
		return node, false
	}
	numbers := map[string]*int64{"used_memory": &node.Used, "maxmemory": &node.Most, "evicted_keys": &node.Evicted}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch to := numbers[name]; {
		case to != nil:
			*to, _ = strconv.ParseInt(value, 10, 64)
		case name == "redis_version":
			node.Version = value
		case name == "maxmemory_policy":
			node.Policy = value
		}
	}
	return node, true
}

// explain adds a remedy to the error that kept Redis from being used.
func (c Config) explain(err error) error {
	if err == nil {
		return nil
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	var what string
	switch text := err.Error(); {
	case errors.As(err, &authority):
		what = "its certificate is from an untrusted authority: name the file of the right one with tls { ca … }"
	case errors.As(err, &name):
		what = "its certificate is for another name: set that name with tls { server_name … }"
	case errors.As(err, &invalid):
		what = "its certificate is expired or not yet valid: renew it, or check the clock"
	case errors.As(err, &noTLS):
		what = "it speaks no TLS at this address: name its TLS port, or remove tls"
	case strings.Contains(text, "tls: "):
		what = "it refuses the TLS handshake: it may require a client_certificate, or another one"
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "NOAUTH"), strings.Contains(text, "invalid password"):
		what = "it refuses the user or the password: check user and password, and with sentinels those of the block sentinel"
	case strings.Contains(text, "NOPERM"):
		what = "its user lacks permissions: allow getrange, set and del on the keys that begin with " + c.Prefix
	case strings.Contains(text, "OOM "):
		what = "its memory is full and it evicts nothing: set maxmemory-policy allkeys-lru, or give it more"
	case strings.Contains(text, "READONLY"):
		what = "it is a replica: name the master, or the sentinels that know it"
	case strings.Contains(text, "CLUSTERDOWN"), strings.Contains(text, "MOVED "):
		what = "it is a cluster, or part of an incomplete one: write cluster, and check its nodes"
	case c.Cluster && strings.Contains(text, "cluster support disabled"):
		what = "it is not a cluster: remove cluster"
	case c.Sentinel != nil && strings.Contains(text, goredis.Nil.Error()):
		what = "the sentinels do not know a master of the name " + c.Sentinel.Master + ": ask them with: sentinel masters"
	case c.TLS == nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		what = "it closes the connection at once: if it requires TLS, write tls"
	case c.TLS != nil && errors.Is(err, context.DeadlineExceeded):
		what = "it does not answer the TLS handshake, or is too far away: name its TLS port, or remove tls"
	default:
		what = "it cannot be used"
	}
	return fmt.Errorf("%s (%w)", what, err)
}
