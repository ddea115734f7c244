package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/server"
)

// load pulls new content through every registry, until stop is called, which returns when the
// last pull has ended. No pull may fail.
func load(t *testing.T, up *upstreamtest.Upstream, registries ...*server.Server) (stop func() (pulls int)) {
	done, pulled := make(chan struct{}), 0
	var pulling sync.WaitGroup
	var mu sync.Mutex // guards pulled
	for worker := range 2 {
		pulling.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				tag := fmt.Sprintf("load-%d-%d", worker, i)
				d := manifest(up, tag)
				for _, s := range registries {
					if err := pull(s, tag, d); err != nil {
						t.Errorf("under load: %v", err)
						return
					}
					mu.Lock()
					pulled++
					mu.Unlock()
				}
			}
		})
	}
	return func() int {
		close(done)
		pulling.Wait()
		return pulled
	}
}

// The master dies while clients pull. Sentinels make its replica the master, where the
// entries are that the old one had, and where new ones go.
func TestPullsGoOnWhenSentinelsChangeTheMaster(t *testing.T) {
	begun := time.Now()
	t.Setenv("REDIS_PASSWORD", "hunter2")
	t.Setenv("SENTINEL_PASSWORD", "hunter3")
	secured := []string{"--requirepass", "hunter2", "--masterauth", "hunter2"}
	start := func(args ...string) *redisServer {
		r := &redisServer{port: server.FreePort(t), password: "hunter2"}
		r.start(t, append(append([]string{"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, secured...), args...))
		return r
	}
	master := start()
	replica := start("--replicaof", "127.0.0.1", strconv.Itoa(master.port), "--repl-diskless-sync-delay", "0")
	replica.eventually(t, "INFO replication", func(answer string) bool { return strings.Contains(answer, "master_link_status:up") })

	sentinel := &redisServer{port: server.FreePort(t), password: "hunter3"}
	config := filepath.Join(t.TempDir(), "sentinel.conf") // it is rewritten by the sentinel
	err := os.WriteFile(config, fmt.Appendf(nil, `port %d
bind 127.0.0.1
requirepass hunter3
sentinel monitor registry 127.0.0.1 %d 1
sentinel auth-pass registry hunter2
sentinel down-after-milliseconds registry 1000
sentinel failover-timeout registry 10000
`, sentinel.port, master.port), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	sentinel.start(t, []string{config, "--sentinel"})
	sentinel.eventually(t, "INFO sentinel", func(answer string) bool { return strings.Contains(answer, "slaves=1") })

	// No server listens on the first of the two addresses: one sentinel is enough.
	options := fmt.Sprintf(`address 127.0.0.1:%d %s
			sentinel registry {
				password {env.SENTINEL_PASSWORD}
			}
			password {env.REDIS_PASSWORD}`, server.FreePort(t), sentinel.address())
	up := upstreamtest.New(t, upstreamtest.Config{})
	one, two := registry(t, up, options, "A"), registry(t, up, options, "A")
	shares(t, up, one, two)
	const before = 20
	for i := range before {
		tag := fmt.Sprintf("before-%d", i)
		if err := pull(one, tag, manifest(up, tag)); err != nil {
			t.Fatal(err)
		}
	}
	size := master.must(t, "DBSIZE")
	replica.eventually(t, "DBSIZE", func(answer string) bool { return answer == size })

	stop := load(t, up, one, two)
	master.kill()
	replica.eventually(t, "INFO replication", func(answer string) bool { return strings.Contains(answer, "role:master") })
	t.Logf("%d pulls while the master changed", stop())
	shares(t, up, one, two)

	late, found := registry(t, up, options, "A"), false // has only what Redis has
	for i := range before {
		shares(t, up, one, late) // so Redis is used now
		tag := fmt.Sprintf("before-%d", i)
		d := manifest(up, tag)
		up.Forget()
		if err := pull(late, tag, d); err != nil {
			t.Fatal(err)
		}
		if found = len(up.Requests()) == 0; found {
			break
		}
	}
	if !found {
		t.Errorf("none of %d entries of the old master was found", before)
	}
	for _, s := range []*server.Server{one, two} {
		saidOnce(t, s, begun)
	}
}

// Entries are on all nodes. When one is gone, those on the others are found.
func TestPullsGoOnWhenANodeOfTheClusterIsGone(t *testing.T) {
	begun := time.Now()
	const nodes = 3
	var cluster [nodes]*redisServer
	var addresses []string
	for i := range cluster {
		cluster[i] = startRedis(t, server.FreePort(t), "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(server.FreePort(t)),
			"--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000")
		addresses = append(addresses, cluster[i].address())
	}
	const slots = 16384
	for i, node := range cluster {
		node.must(t, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/nodes, (i+1)*slots/nodes-1))
		node.must(t, fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
	}
	bus := cluster[0].must(t, "CLUSTER MYID")
	nodesOf := cluster[0].must(t, "CLUSTER NODES") // <id> <ip>:<port>@<bus port> …
	_, at, found := strings.Cut(nodesOf, "@")
	if !found || !strings.HasPrefix(nodesOf, bus) {
		t.Fatalf("CLUSTER NODES: %q", nodesOf)
	}
	busPort, _, _ := strings.Cut(at, " ")
	for _, node := range cluster[1:] {
		node.must(t, fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %s", cluster[0].port, busPort))
	}
	for _, node := range cluster {
		node.eventually(t, "CLUSTER INFO", func(answer string) bool {
			return strings.Contains(answer, "cluster_state:ok") && strings.Contains(answer, fmt.Sprintf("cluster_known_nodes:%d", nodes)) &&
				strings.Contains(answer, fmt.Sprintf("cluster_slots_ok:%d", slots))
		})
	}
	options := "address " + strings.Join(addresses, " ") + "\n\t\t\tcluster"
	up := upstreamtest.New(t, upstreamtest.Config{})
	one, two := registry(t, up, options, "A"), registry(t, up, options, "A")
	shares(t, up, one, two)
	stop := load(t, up, one, two)
	for _, node := range cluster {
		node.eventually(t, "DBSIZE", func(answer string) bool { return answer != ":0" })
	}
	cluster[0].kill()
	cluster[1].eventually(t, "CLUSTER INFO", func(answer string) bool { return !strings.Contains(answer, "cluster_slots_fail:0") })
	t.Logf("%d pulls while a node went", stop())
	shares(t, up, one, two)
	for _, s := range []*server.Server{one, two} {
		saidOnce(t, s, begun)
	}
}
