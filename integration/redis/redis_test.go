// Package redis runs the built binary with a real redis-server between its mirrors,
// and does to that what happens to servers. Redis may make pulls slower: never wrong,
// and never fail.
package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
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

// redisServer is a process on a port of its own.
type redisServer struct {
	port int
	cmd  *exec.Cmd
}

func startRedis(t *testing.T, port int) *redisServer {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	r := &redisServer{port: port, cmd: exec.Command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	err = server.Eventually(patience, func() (bool, error) {
		answer, err := r.send("PING")
		return answer == "+PONG", err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *redisServer) kill() {
	r.cmd.Process.Kill() // also one that is stopped
	r.cmd.Wait()
}

// send says one line, and returns the first of the answer. A server that does not
// listen yet answers nothing.
func (r *redisServer) send(line string) (string, error) {
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)), patience)
	if err != nil {
		return "", nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer), err
}

func (r *redisServer) must(t *testing.T, line string) string {
	t.Helper()
	answer, err := r.send(line)
	if err != nil || strings.HasPrefix(answer, "-") {
		t.Fatalf("redis: %s: %q, %v", line, answer, err)
	}
	return answer
}

// registry starts one of the registries that share a Redis.
func registry(t *testing.T, up *upstreamtest.Upstream, redisPort int, secret string) *server.Server {
	t.Helper()
	t.Setenv("SHARED_"+secret, strings.Repeat(secret, 16))
	return server.Start(t, server.Options{Caddyfile: fmt.Sprintf(`{
	oci {
		storage file {$REGISTRY_DATA}
		cache redis {
			address 127.0.0.1:%d
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
`, redisPort, secret, up.URL)})
}

// pull gets a manifest by tag, and says what is wrong with it.
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

func TestOnlyThoseWithTheSecretShare(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Options{})
	d := manifest(up, "v1")
	port := server.FreePort(t)
	r := startRedis(t, port)
	for _, row := range []struct {
		name, secret string
		asked        bool
	}{
		{"the first asks", "A", true},
		{"the second does not", "A", false},
		{"one with another secret does", "B", true},
	} {
		up.Forget()
		if err := pull(registry(t, up, port, row.secret), "v1", d); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if saw := up.Requests(); (len(saw) > 0) != row.asked {
			t.Errorf("%s: the upstream saw %q", row.name, saw)
		}
	}
	// What somebody has changed there is asked for.
	r.must(t, `EVAL "for _,k in ipairs(redis.call('KEYS','*')) do redis.call('APPEND',k,' ') end return 1" 0`)
	up.Forget()
	if err := pull(registry(t, up, port, "A"), "v1", d); err != nil {
		t.Error(err)
	}
	if saw := up.Requests(); len(saw) != 1 {
		t.Errorf("tampered: the upstream saw %q", saw)
	}
}

func TestPullsGoOnWhateverRedisDoes(t *testing.T) {
	up := upstreamtest.New(t, upstreamtest.Options{})
	port := server.FreePort(t)
	r := startRedis(t, port)
	registries := []*server.Server{registry(t, up, port, "A"), registry(t, up, port, "A")}
	if err := pull(registries[0], "warm", manifest(up, "warm")); err != nil {
		t.Fatal(err)
	}
	for _, phase := range []struct {
		name string
		do   func()
	}{
		{"runs", func() {}},
		{"is stopped in the middle", func() { r.cmd.Process.Signal(syscall.SIGSTOP) }},
		{"goes on", func() { r.cmd.Process.Signal(syscall.SIGCONT) }},
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
		if got := strings.Count(s.Log(), "Redis does not answer"); got == 0 || got > 4 {
			t.Errorf("the log says %d times that Redis does not answer; it failed twice:\n%s", got, s.Log())
		}
	}
}
