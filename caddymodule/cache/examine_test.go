package cache

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/core/cache/redis"
)

func TestWhatIsSaidOfRedis(t *testing.T) {
	const ms = time.Millisecond
	node := func(most int64, policy string, evicted int64) []redis.Node {
		return []redis.Node{{Version: "7.0.15", Used: 1 << 20, Most: most, Policy: policy, Evicted: evicted}}
	}
	for _, row := range []struct {
		name  string
		found redis.Found
		ok    bool
		want  string
	}{
		{"one without a bound", redis.Found{Latency: ms, Dated: true, Nodes: node(0, "noeviction", 0)}, true,
			"can be written and read, an answer takes 1ms, its clock agrees; version 7.0.15, 1.0 MiB of memory in use without a bound (every entry ends within a day by itself; maxmemory would bound it)"},
		{"one that makes room", redis.Found{Latency: ms, Nodes: node(1<<30, "allkeys-lru", 7)}, true, "of 1.0 GiB, then allkeys-lru makes room; 7 keys were evicted since its start, which is fine"},
		{"one that does not", redis.Found{Latency: ms, Nodes: node(1<<30, "noeviction", 0)}, true, "when it is full nothing new is shared"},
		{"one that tells nothing", redis.Found{Latency: ms}, true, "says nothing to this user"},
		{"a cluster", redis.Found{Latency: ms, Nodes: append(node(1<<30, "allkeys-lru", 1), node(1<<30, "allkeys-lfu", 2)...)}, true, "2 masters, 2.0 MiB of memory in use of 2.0 GiB, then allkeys-lru and allkeys-lfu makes room; 3 keys"},
		{"one that is far away", redis.Found{Latency: 150 * ms}, false, "nearer"},
		{"a clock that is slow", redis.Found{Latency: ms, Dated: true, Skew: -time.Minute}, false, "-1m0s apart"},
	} {
		got, err := describeRedis(row.found)
		if err != nil {
			got = err.Error()
		}
		warning := doctor.Warning("")
		if (err == nil || errors.As(err, &warning)) != row.ok || !strings.Contains(got, row.want) {
			t.Errorf("%s: got %q, %v", row.name, got, err)
		}
	}
}
