// Package redis runs the built binary with a real redis-server between its mirrors, and makes
// that server fail. Redis may make pulls slower, but never wrong, and no pull may fail.
package redis

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	indexType = "application/vnd.oci.image.index.v1+json"
	patience  = time.Minute
)

// registry starts one of the registries that share a Redis.
// options are those of its cache beside the secret.
func registry(t *testing.T, up *upstreamtest.Upstream, options, secret string) *server.Server {
	t.Helper()
	t.Setenv("SHARED_"+secret, strings.Repeat(secret, 16))
	return server.Start(t, server.Options{Caddyfile: fmt.Sprintf(`{
	oci {
		storage file {$REGISTRY_DATA}
		cache redis {
			%s
			secret {env.SHARED_%s}
		}
		mirror mirrored.test {
			upstream %s
			ttl 1h
		}
	}
}
http://:{$REGISTRY_PORT} {
	bind 127.0.0.1
	oci_registry
}
`, options, secret, up.URL)})
}

// pull gets a manifest by tag, and returns an error if it is wrong.
func pull(s *server.Server, tag string, want digest.Digest) error {
	c := server.Client(patience)
	defer c.CloseIdleConnections()
	response, err := c.Get(s.URL + "/v2/mirrored.test/team/app/manifests/" + tag)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || digest.FromBytes(body) != want {
		return fmt.Errorf("%s: %d %s", tag, response.StatusCode, body)
	}
	return nil
}

func manifest(up *upstreamtest.Upstream, tag string) digest.Digest {
	return up.Manifest("team/app", indexType, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"tag":%q}}`, indexType, tag), tag)
}

// shares waits until one registry uses what the other has learned. It may take several tags: on
// a busy machine a request to Redis sometimes fails.
func shares(t *testing.T, up *upstreamtest.Upstream, from, to *server.Server) {
	t.Helper()
	err := server.Eventually(patience, func() (bool, error) {
		return sharesOne(up, from, to)
	})
	if err != nil {
		t.Errorf("one registry does not know what the other has learned: %v", err)
	}
}

var tags atomic.Int64

func sharesOne(up *upstreamtest.Upstream, from, to *server.Server) (bool, error) {
	tag := fmt.Sprintf("shared-%d", tags.Add(1))
	d := manifest(up, tag)
	if err := pull(from, tag, d); err != nil {
		return false, err
	}
	up.Forget()
	err := pull(to, tag, d)
	return len(up.Requests()) == 0, err
}

func TestOnlyThoseWithTheSecretShare(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Config{})
	r := startRedis(t, server.FreePort(t))
	one, two := registry(t, up, r.option(), "A"), registry(t, up, r.option(), "A")
	shares(t, up, one, two)
	if shared, err := sharesOne(up, one, registry(t, up, r.option(), "B")); shared || err != nil {
		t.Errorf("with another secret: shared %v, %v", shared, err)
	}
	// A modified entry is requested from the upstream again.
	d := manifest(up, "v1")
	if err := pull(one, "v1", d); err != nil {
		t.Error(err)
	}
	r.must(t, `EVAL "for _,k in ipairs(redis.call('KEYS','*')) do redis.call('APPEND',k,' ') end return 1" 0`)
	up.Forget()
	if err := pull(two, "v1", d); err != nil {
		t.Error(err)
	}
	if saw := up.Requests(); len(saw) != 1 {
		t.Errorf("tampered: the upstream saw %q", saw)
	}
}

func TestPullsGoOnWhateverRedisDoes(t *testing.T) {
	begun := time.Now()
	up := upstreamtest.New(t, upstreamtest.Config{})
	port := server.FreePort(t)
	r := startRedis(t, port)
	registries := []*server.Server{registry(t, up, r.option(), "A"), registry(t, up, r.option(), "A")}
	if err := pull(registries[0], "warm", manifest(up, "warm")); err != nil {
		t.Fatal(err)
	}
	for _, phase := range []struct {
		name string
		do   func()
	}{
		{"runs", func() {}},
		{"is stopped in the middle", func() { r.cmd.Process.Signal(syscall.SIGSTOP) }},
		{"continues", func() { r.cmd.Process.Signal(syscall.SIGCONT) }},
		{"is flushed", func() { r.must(t, "FLUSHALL") }},
		{"is full of rubbish", func() {
			r.must(t, `EVAL "for _,k in ipairs(redis.call('KEYS','*')) do redis.call('SET',k,string.rep('rubbish',1000)) end return 1" 0`)
		}},
		{"is full of lists", func() {
			r.must(t, `EVAL "for _,k in ipairs(redis.call('KEYS','*')) do redis.call('DEL',k) redis.call('LPUSH',k,'x') end return 1" 0`)
		}},
		{"is killed", r.kill},
		{"is started again, empty", func() { r = startRedis(t, port) }},
	} {
		// Clients pull before, while and after it happens.
		var pulls sync.WaitGroup
		began := make(chan struct{}, 40)
		for i := range 40 {
			tag := fmt.Sprintf("%s-%d", strings.Trim(strings.Map(func(c rune) rune {
				if c < 'a' || c > 'z' {
					return '-'
				}
				return c
			}, phase.name), "-"), i)
			d := manifest(up, tag)
			pulls.Go(func() {
				for _, s := range registries {
					if err := pull(s, tag, d); err != nil {
						t.Errorf("Redis %s: %v", phase.name, err)
					}
					began <- struct{}{}
				}
			})
		}
		<-began
		phase.do()
		for range 79 {
			<-began
		}
		pulls.Wait()
		start := time.Now()
		for _, s := range registries {
			tag := fmt.Sprintf("after-%d-%d", start.UnixNano(), s.Port)
			if err := pull(s, tag, manifest(up, tag)); err != nil {
				t.Errorf("after Redis %s: %v", phase.name, err)
			}
		}
		t.Logf("Redis %s: two cold pulls in %v", phase.name, time.Since(start).Round(time.Millisecond))
	}
	for _, s := range registries {
		saidOnce(t, s, begun)
	}
}

// saidOnce checks that a registry has logged the failure of Redis, but not for each pull: after
// a failure Redis is not used for two seconds. On a busy machine Redis may seem to fail more
// than once.
func saidOnce(t *testing.T, s *server.Server, begun time.Time) {
	t.Helper()
	most := 1 + int(time.Since(begun)/(2*time.Second))
	if got := strings.Count(s.Log(), "Redis does not answer"); got == 0 || got > most {
		t.Errorf("the log has %d messages that Redis does not answer:\n%s", got, s.Log())
	}
}
