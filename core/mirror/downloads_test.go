package mirror_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// counting is an upstream that counts the blobs in transfer, by repository.
type counting struct {
	*upstream.Client
	mu     sync.Mutex // guards what follows
	active map[string]int
	begun  []string // repositories, in order
}

func (c *counting) Blob(ctx context.Context, repo string, d digest.Digest, offset, expected int64) (io.ReadCloser, int64, error) {
	body, size, err := c.Client.Blob(ctx, repo, d, offset, expected)
	if err != nil {
		return nil, 0, err
	}
	c.add(repo, 1)
	return &counted{body, sync.OnceFunc(func() { c.add(repo, -1) })}, size, nil
}

func (c *counting) add(repo string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active[repo] += n
	if n > 0 {
		c.begun = append(c.begun, repo)
	}
}

func (c *counting) transfers() (all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.active {
		all += n
	}
	return all
}

type counted struct {
	io.ReadCloser
	closed func()
}

func (c *counted) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

// counts starts a mirror whose transfers are counted, and whose upstream sends 1000
// bytes of a blob and stalls until the fault is lifted.
func counts(t *testing.T, most int) (f *fixture, c *counting, stall *upstreamtest.Active) {
	t.Helper()
	f = start(t, mirror.Settings{})
	config := f.config
	config.MaxConnections = most
	client, err := upstream.New(config)
	if err != nil {
		t.Fatal(err)
	}
	c = &counting{Client: client, active: map[string]int{}}
	m, err := mirror.New(mirror.Config{Name: "docker.io", Local: f.local, State: f.full, Upstream: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = m.Close(), client.Close() })
	f.Mirror = m
	return f, c, f.up.Fault(upstreamtest.Fault{Path: "/blobs/", Stall: true, After: 1000})
}

// new is a blob that no other is.
func (f *fixture) new(repo string, i int) digest.Digest {
	return f.up.Blob(repo, fmt.Appendf(nil, "%2000d of %s", i, repo))
}

func from(address string) context.Context {
	return core.WithAccess(context.Background(), core.Access{Fetch: true, Address: address})
}

// want reads the first bytes of a blob in the background, and keeps it open until ctx
// ends. first is closed when they are here.
func (f *fixture) want(t *testing.T, ctx context.Context, repo string, d digest.Digest) (first chan struct{}) {
	first = make(chan struct{})
	go func() {
		b, err := f.Blob(ctx, "docker.io/"+repo, d)
		if err != nil {
			return // it left
		}
		defer b.Close()
		if _, err := io.ReadFull(b, make([]byte, 1000)); err == nil {
			close(first)
		}
		<-ctx.Done()
	}()
	return first
}

func is(closed chan struct{}) bool {
	select {
	case <-closed:
		return true
	default:
		return false
	}
}

// However many callers leave at the same moment, at most eight downloads continue, and a new
// caller is served at once.
func TestCallersThatLeaveAtOnceLeaveEightDownloads(t *testing.T) {
	for _, left := range []int{9, 32, 150} {
		t.Run(fmt.Sprint(left, " leave"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c, _ := counts(t, 32)
				ctx, leave := context.WithCancel(context.Background())
				for i := range left {
					name := fmt.Sprint("team/a", i)
					access := core.AccessFrom(from(fmt.Sprint("192.0.2.", i)))
					f.want(t, core.WithAccess(ctx, access), name, f.new(name, i))
				}
				synctest.Wait()
				if got, want := c.transfers(), min(left, 32); got != want {
					t.Fatalf("%d blobs are in transfer, want %d", got, want)
				}
				leave()
				synctest.Wait()
				if got := c.transfers(); got > 8 {
					t.Errorf("%d downloads that nobody reads go on, want at most 8", got)
				}
				here, end := context.WithCancel(from("198.51.100.1"))
				first := f.want(t, here, "team/b", f.new("team/b", 0))
				synctest.Wait()
				if !is(first) {
					t.Error("somebody else has no first byte")
				}
				end()
			})
		})
	}
}

// While one caller waits for 150 blobs, none of which ends, another caller's first byte arrives
// at once; also another repository's for the same address, behind which many may be.
func TestNobodysQueueTakesAllTransfers(t *testing.T) {
	for _, row := range []struct {
		name          string
		one, somebody context.Context
		repos         int // of the one
		most          int // transfers of the one
	}{
		{"of one repository", from("192.0.2.1"), from("192.0.2.2"), 1, 16},
		{"of one repository, from the same address", from("192.0.2.1"), from("192.0.2.1"), 1, 16},
		{"of one repository, from addresses that nobody said", from(""), from(""), 1, 16},
		{"of many repositories", from("192.0.2.1"), from("192.0.2.2"), 150, 24},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c, _ := counts(t, 32)
				one, end := context.WithCancel(row.one)
				defer end()
				for i := range 150 {
					name := fmt.Sprint("team/a", i%row.repos)
					f.want(t, one, name, f.new(name, i))
				}
				synctest.Wait()
				if got := c.transfers(); got != row.most {
					t.Errorf("one caller has %d transfers, want %d", got, row.most)
				}
				somebody, leave := context.WithCancel(row.somebody)
				defer leave()
				first := f.want(t, somebody, "team/b", f.new("team/b", 0))
				synctest.Wait()
				if !is(first) {
					t.Error("somebody else has no first byte")
				}
			})
		})
	}
}

// Callers take turns where there is one place, and so do the repositories of one.
func TestTransfersTakeTurns(t *testing.T) {
	for _, addresses := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"192.0.2.1", "192.0.2.1"}} {
		synctest.Test(t, func(t *testing.T) {
			f, c, stall := counts(t, 1)
			one, end := context.WithCancel(from(addresses[0]))
			defer end()
			for i := range 5 {
				f.want(t, one, "team/a", f.new("team/a", i))
				synctest.Wait() // so that they wait in order
			}
			two, leave := context.WithCancel(from(addresses[1]))
			defer leave()
			f.want(t, two, "team/b", f.new("team/b", 0))
			synctest.Wait()
			stall.Lift()
			synctest.Wait()
			// The first was in transfer; what comes next is the other's turn.
			if got := slices.Index(c.begun, "team/b"); got != 1 || len(c.begun) != 6 {
				t.Errorf("the other came at place %d of %q, want 1 of 6", got, c.begun)
			}
		})
	}
}
