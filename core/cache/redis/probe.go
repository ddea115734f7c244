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

// Found is what a look at Redis has shown. What a user of an access control list may
// not ask is not known, and no trouble.
type Found struct {
	// Latency is what the median of some questions takes.
	Latency time.Duration
	// Skew is how far Redis's clock is ahead of ours. Dated tells whether it said.
	Skew  time.Duration
	Dated bool
	// Nodes are the servers that were looked at: one, or the masters of a cluster.
	Nodes []Node
}

// Node is one server by what it says of itself.
type Node struct {
	Version string
	// Used and Most are bytes of memory; Most is 0 where nothing bounds it.
	Used, Most int64
	// Policy is what goes when memory is full, such as allkeys-lru or noeviction.
	Policy string
	// Evicted counts the keys that went so, since it was started.
	Evicted int64
}

const (
	// probeTimeout bounds one question of a probe: a person waits for it.
	probeTimeout = 3 * time.Second
	// probes is how often the latency is looked at.
	probes = 9
)

// Probe looks at Redis for a person: it reaches it as a Cache does, logs in, writes,
// reads and deletes a key, and asks what it says of itself. Neither the secret nor an
// entry is touched. Errors: sentences that say what to do.
func (o Options) Probe(ctx context.Context) (found Found, err error) {
	if err := o.Check(); err != nil {
		return found, err
	}
	o = o.complete()
	o.Timeout = probeTimeout
	client := o.client()
	defer client.Close()
	if err := o.use(ctx, client); err != nil {
		return found, o.explain(err)
	}
	var took []time.Duration
	for range probes {
		begun := time.Now()
		if err := client.GetRange(ctx, o.Prefix+"doctor", 0, 1).Err(); err != nil {
			return found, o.explain(err)
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
		return found, errors.New("some slots of the cluster are served by nobody (cluster_state is not ok): what lies there is not shared until its nodes are back")
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
	return found, o.explain(err)
}

// use does what a Cache does, with a key of its own.
func (o Options) use(ctx context.Context, client goredis.UniversalClient) error {
	key := o.Prefix + "doctor/" + rand.Text()
	if err := client.Set(ctx, key, "x", time.Minute).Err(); err != nil {
		return err
	}
	if _, err := client.GetRange(ctx, key, 0, 1).Result(); err != nil {
		return err
	}
	return client.Del(ctx, key).Err()
}

// info is what a server says of itself, if it does.
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

// explain says what to do about what kept Redis from being used.
func (o Options) explain(err error) error {
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
		what = "its certificate is of an authority that is not believed: name the file of the right one with tls { ca … }"
	case errors.As(err, &name):
		what = "its certificate is for another name: say for which with tls { server_name … }"
	case errors.As(err, &invalid):
		what = "its certificate is not valid now: renew it, or look at the clock"
	case errors.As(err, &noTLS):
		what = "it speaks no TLS at this address: name its TLS port, or remove tls"
	case strings.Contains(text, "tls: "):
		what = "it refuses our side of TLS: does it want a client_certificate, or another one?"
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "NOAUTH"), strings.Contains(text, "invalid password"):
		what = "it refuses the user or the password: look at user and password, and with sentinels at those of the block sentinel"
	case strings.Contains(text, "NOPERM"):
		what = "its user may not do what is needed: allow getrange, set and del on the keys that begin with " + o.Prefix
	case strings.Contains(text, "OOM "):
		what = "its memory is full and it evicts nothing: set maxmemory-policy allkeys-lru, or give it more"
	case strings.Contains(text, "READONLY"):
		what = "it is a replica: name the master, or the sentinels that know it"
	case strings.Contains(text, "CLUSTERDOWN"), strings.Contains(text, "MOVED "):
		what = "it is a cluster, or part of one that is not whole: write cluster, and look at its nodes"
	case o.Cluster && strings.Contains(text, "cluster support disabled"):
		what = "it is no cluster: remove cluster"
	case o.Sentinel != nil && strings.Contains(text, goredis.Nil.Error()):
		what = "the sentinels know no master of the name " + o.Sentinel.Master + ": ask them with: sentinel masters"
	case o.TLS == nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		what = "it ends the connection at once: if it wants TLS, write tls"
	case o.TLS != nil && errors.Is(err, context.DeadlineExceeded):
		what = "it takes no part in TLS, or is too far away: name its TLS port, or remove tls"
	default:
		what = "it cannot be used"
	}
	return fmt.Errorf("%s (%w)", what, err)
}
