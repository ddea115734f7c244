package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/core/cache/redis"
)

// Examine reports how large the memory is, for the doctor.
func (c *Memory) Examine(context.Context) (string, error) {
	return fmt.Sprintf("manifests and tags are in memory, %s at most; nothing is shared with other registries", humanize.IBytes(uint64(c.bytes))), nil
}

// Examine reports how Redis is: it reaches Redis, and uses it.
func (c *Redis) Examine(ctx context.Context) (string, error) {
	config, _, err := c.connection()
	if err != nil {
		return "", err
	}
	if len(config.Addresses) == 0 {
		return "Redis has no address, so " + inMemory, nil
	}
	where := "Redis at " + strings.Join(config.Addresses, " ")
	found, err := config.Probe(ctx)
	if err == nil {
		var text string
		if text, err = describeRedis(found); err == nil {
			return where + " " + text, nil
		}
		if warning := doctor.Warning(""); errors.As(err, &warning) {
			return "", doctor.Warnf("%s %s", where, warning)
		}
	}
	return "", fmt.Errorf("%s: %w; until then %s, and the upstreams are asked for what others know", where, err, inMemory)
}

const inMemory = "the cache is in memory alone"

// describeRedis says what was found.
func describeRedis(f redis.Found) (string, error) {
	latency := f.Latency.Round(10 * time.Microsecond)
	if latency > redis.DefaultTimeout {
		return "", fmt.Errorf("an answer takes %s, and nobody waits longer than %s: use one that is nearer", latency, redis.DefaultTimeout)
	}
	text := fmt.Sprintf("can be written and read, an answer takes %s", latency)
	switch skew := f.Skew.Abs(); {
	case !f.Dated:
	case skew > doctor.MaxSkew:
		return "", fmt.Errorf("its clock and ours are %s apart: entries end too early or too late; set the clocks", f.Skew.Round(time.Second))
	case skew > time.Second:
		text += fmt.Sprintf(", its clock and ours are %s apart", f.Skew.Round(time.Second))
	default:
		text += ", its clock agrees"
	}
	if len(f.Nodes) == 0 {
		return text + "; of its memory it says nothing to this user", nil
	}
	var used, most, evicted int64
	var policies []string
	bounded := true
	for _, node := range f.Nodes {
		used, most, evicted = used+node.Used, most+node.Most, evicted+node.Evicted
		bounded = bounded && node.Most > 0
		if !slices.Contains(policies, node.Policy) {
			policies = append(policies, node.Policy)
		}
	}
	text += fmt.Sprintf("; version %s", f.Nodes[0].Version)
	if len(f.Nodes) > 1 {
		text += fmt.Sprintf(", %d masters", len(f.Nodes))
	}
	text += fmt.Sprintf(", %s of memory in use", humanize.IBytes(uint64(used)))
	switch {
	case !bounded:
		text += " without a bound (every entry ends within a day by itself; maxmemory would bound it)"
	case slices.Contains(policies, "noeviction"):
		return "", doctor.Warnf("%s of %s, and when it is full nothing new is shared: maxmemory-policy allkeys-lru would make room", text, humanize.IBytes(uint64(most)))
	default:
		text += fmt.Sprintf(" of %s, then %s makes room", humanize.IBytes(uint64(most)), strings.Join(policies, " and "))
	}
	if evicted > 0 {
		text += fmt.Sprintf("; %d keys were evicted since its start, which is fine unless most requests miss (registry_cache_requests_total)", evicted)
	}
	return text, nil
}
