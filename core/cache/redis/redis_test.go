package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ours   = []byte("one secret of sixteen bytes or more")
	theirs = []byte("another secret of sixteen bytes")
)

// fixture is a cache, what it counted and what it logged.
type fixture struct {
	*Cache
	mu      sync.Mutex // guards results
	results []string
	logged  lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(strings.Lines(b.b.String()))
}

// open makes a cache that waits for Redis as long as a test may take: a busy machine
// is not a Redis that fails.
func open(t testing.TB, address string, secret []byte) *fixture {
	t.Helper()
	return openFor(t, address, secret, time.Minute)
}

func openFor(t testing.TB, address string, secret []byte, timeout time.Duration) *fixture {
	t.Helper()
	f := new(fixture)
	var err error
	f.Cache, err = New(Config{
		Addresses: []string{address}, Secret: secret, Timeout: timeout, Log: slog.New(slog.NewTextHandler(&f.logged, nil)),
		Count: func(operation, result string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.results = append(f.results, operation+" "+result)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// counted is what was counted since the last call.
func (f *fixture) counted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	got := f.results
	f.results = nil
	return got
}

func (f *fixture) want(t *testing.T, key, value string, results ...string) {
	t.Helper()
	got, ok := f.Get(context.Background(), key)
	if string(got) != value || ok != (value != "") {
		t.Errorf("%s: got %q, %v; want %q", key, got, ok, value)
	}
	if got := f.counted(); !slices.Equal(got, results) {
		t.Errorf("%s: counted %q, want %q", key, got, results)
	}
}

func TestAnEntryIsUsedUnderItsKeyByThoseWhoHaveTheSecret(t *testing.T) {
	server := miniredis.RunT(t)
	ctx := context.Background()
	one, two, stranger := open(t, server.Addr(), ours), open(t, server.Addr(), ours), open(t, server.Addr(), theirs)
	one.want(t, "tag/a", "", "get miss")
	one.Put(ctx, "tag/a", []byte("value"), time.Hour)
	one.Put(ctx, "tag/short", []byte("value"), time.Millisecond) // less than the precision: not kept
	two.want(t, "tag/a", "value", "get hit")
	two.want(t, "tag/short", "", "get miss")
	stranger.want(t, "tag/a", "", "get invalid")

	entry, err := server.Get(defaultPrefix + "tag/a")
	if err != nil {
		t.Fatal(err)
	}
	one.counted()
	if ttl := server.TTL(defaultPrefix + "tag/a"); ttl != time.Hour {
		t.Errorf("the entry goes from Redis after %v", ttl)
	}
	for _, row := range []struct {
		name, key, entry string
		result           string
	}{
		{"under another key", "tag/b", entry, "invalid"},
		{"under a key of another purpose", "manifest/a", entry, "invalid"},
		{"with a longer life", "tag/a", entry[:endOffset] + "\x7f" + entry[endOffset+1:], "invalid"},
		{"with another value", "tag/a", entry[:len(entry)-1] + "!", "invalid"},
		{"with more behind it", "tag/a", entry + "!", "invalid"},
		{"cut off", "tag/a", entry[:headerSize-1], "invalid"},
		{"of a version to come", "tag/a", "\x02" + entry[1:], "invalid"},
		{"rubbish", "tag/a", strings.Repeat("rubbish", 100), "invalid"},
		{"longer than any", "tag/a", entry + strings.Repeat("x", 2*maxEntry), "invalid"},
		{"over", "tag/a", string(one.sealer.seal("tag/a", []byte("value"), time.Now())), "miss"},
		{"whole", "tag/a", entry, "hit"},
	} {
		server.Set(defaultPrefix+row.key, row.entry)
		value, ok := one.Get(ctx, row.key)
		if ok != (row.result == "hit") {
			t.Errorf("%s: got %q, %v", row.name, value, ok)
		}
		if got := one.counted(); !slices.Equal(got, []string{"get " + row.result}) {
			t.Errorf("%s: counted %q, want %s", row.name, got, row.result)
		}
	}
	one.Delete(ctx, "tag/a")
	two.want(t, "tag/a", "", "get miss")

	// The key holds a foreign list, which is not a failure of Redis.
	server.Lpush(defaultPrefix+"tag/list", "x")
	one.counted()
	one.want(t, "tag/list", "", "get invalid")
	one.Put(ctx, "tag/list", []byte("value"), time.Hour)
	one.counted()
	one.want(t, "tag/list", "value", "get hit")
	if got := one.logged.lines(); len(got) != 0 {
		t.Errorf("logged %q", got)
	}
}

func TestOfARedisThatFailsTheLogSaysOnceAndTheSecondDoesNotWait(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing.Close()
	full := miniredis.RunT(t)
	full.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	locked := miniredis.RunT(t)
	locked.RequireAuth("a password that we do not have")
	for _, row := range []struct{ name, address string }{
		{"accepts and says nothing", silent.Addr().String()},
		{"refuses", refusing.Addr().String()},
		{"answers errors", full.Addr()},
		{"wants a password", locked.Addr()},
		{"has no address", "redis.invalid:6379"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := openFor(t, row.address, ours, DefaultTimeout)
			ctx := context.Background()
			f.Get(ctx, "a")
			f.Put(ctx, "a", []byte("v"), time.Hour)
			f.Delete(ctx, "a")
			f.Get(ctx, "a")
			want := []string{"get error", "put skipped", "delete skipped", "get skipped"}
			if got := f.counted(); !slices.Equal(got, want) {
				t.Errorf("counted %q, want %q", got, want)
			}
			if got := f.logged.lines(); len(got) != 1 || !strings.Contains(got[0], "level=WARN") {
				t.Errorf("logged %q, want one warning", got)
			}
		})
	}
}

func TestARedisThatComesBackIsUsedAgain(t *testing.T) {
	server := miniredis.RunT(t)
	f := open(t, server.Addr(), ours)
	ctx := context.Background()
	f.Put(ctx, "a", []byte("v"), time.Hour)
	server.Close()
	f.Get(ctx, "a")
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	f.Get(ctx, "a")
	f.breakers[0].mu.Lock()
	f.breakers[0].until = time.Now() // its time is over
	f.breakers[0].mu.Unlock()
	f.counted()
	f.want(t, "a", "v", "get hit")
	got := f.logged.lines()
	if len(got) != 2 || !strings.Contains(got[1], "answers again") {
		t.Errorf("logged %q, want that it failed, and that it is back", got)
	}
}

func TestABreakerLetsOneFindOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &newBreakers(false, slog.New(slog.DiscardHandler))[0]
		asked := func() (probe bool) {
			t.Helper()
			may, probe := b.enter()
			if !may {
				t.Error("nobody may ask")
			}
			return probe
		}
		refused := func() {
			t.Helper()
			if may, _ := b.enter(); may {
				t.Error("one more may ask")
			}
		}
		one, two := asked(), asked()
		b.leave(one, fmt.Errorf("gone"))
		refused()
		b.leave(two, nil) // it was asked before the failure, and says nothing about it
		refused()
		time.Sleep(leaveAlone)
		one = asked()
		refused() // exactly one finds out
		b.leave(one, fmt.Errorf("gone"))
		time.Sleep(leaveAlone)
		b.leave(asked(), nil)
		b.leave(asked(), nil)
		b.leave(asked(), nil)
	})
}

func TestConfigsThatCannotWork(t *testing.T) {
	one, three := []string{"localhost:1"}, []string{"a:1", "b:1", "c:1"}
	for _, row := range []struct {
		name   string
		config Config
		want   string
	}{
		{"no address", Config{Secret: ours}, "address"},
		{"no secret", Config{Addresses: one}, "secret"},
		{"a short secret", Config{Addresses: one, Secret: []byte("short")}, "secret"},
		{"addresses of what?", Config{Addresses: three, Secret: ours}, "add cluster, or sentinel"},
		{"a cluster with a database", Config{Addresses: three, Cluster: true, DB: 1, Secret: ours}, "remove db or cluster"},
		{"sentinels without a master", Config{Addresses: three, Sentinel: new(Sentinel), Secret: ours}, "sentinel mymaster"},
		{"sentinels of a cluster", Config{Addresses: three, Sentinel: &Sentinel{Master: "m"}, Cluster: true, Secret: ours}, "exclude"},
		{"a negative database", Config{Addresses: one, DB: -1, Secret: ours}, "negative"},
	} {
		c, err := New(row.config)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q in it", row.name, err, row.want)
		}
	}
}

// The slots are those that Redis says (CLUSTER KEYSLOT).
func TestSlots(t *testing.T) {
	for key, want := range map[string]int{
		"": 0, "123456789": 12739, "foo": 12182, "{foo}bar": 12182, "a{foo}b{bar}": 12182, "{}foo": 9500, "foo{": 7673, defaultPrefix + "tag/a": 7535,
	} {
		if got := slotOf(key); got != want {
			t.Errorf("%q: got slot %d, want %d", key, got, want)
		}
	}
}

// A node that is gone is left alone, and the log says once that it is; what lies on
// the others is asked for.
func TestEachPartOfAClusterHasABreaker(t *testing.T) {
	var logged lockedBuffer
	breakers := newBreakers(true, slog.New(slog.NewTextHandler(&logged, nil)))
	for i := range 5 {
		breakers[i].leave(false, fmt.Errorf("gone"))
	}
	for i := range breakers {
		if got, _ := breakers[i].enter(); got != (i >= 5) {
			t.Errorf("part %d: may be asked: %v", i, got)
		}
	}
	for i := range breakers {
		breakers[i].leave(true, nil)
	}
	if got := logged.lines(); len(got) != 2 || !strings.Contains(got[0], "does not answer") || !strings.Contains(got[1], "answers again") {
		t.Errorf("logged %q, want that it failed, and that it is back", got)
	}
}

// Only entries that were sealed under that key, with that secret, can be opened.
func FuzzOpen(f *testing.F) {
	s, now := newSealer(ours), time.Unix(1e9, 0)
	f.Add("tag/a", s.seal("tag/a", []byte("value"), now.Add(time.Hour)))
	f.Add("tag/a", s.seal("tag/b", []byte("value"), now.Add(time.Hour)))
	f.Add("", []byte{})
	f.Add("tag/a", bytes.Repeat([]byte{1}, headerSize))
	f.Fuzz(func(t *testing.T, key string, entry []byte) {
		value, err := s.open(key, entry, now)
		if err != nil {
			return
		}
		var end int64
		for _, b := range entry[endOffset:macOffset] {
			end = end<<8 | int64(b)
		}
		if again := s.seal(key, value, time.Unix(end, 0)); !bytes.Equal(again, entry) || end <= now.Unix() {
			t.Errorf("opened %q, which was not sealed", entry)
		}
	})
}

// miniredis serves in this process: the figure is the way there and back, and the MAC.
func BenchmarkGet(b *testing.B) {
	server := miniredis.RunT(b)
	c := open(b, server.Addr(), ours)
	c.count = func(string, string) {}
	for _, size := range []int{100, 2 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c.Put(context.Background(), "a", make([]byte, size), time.Hour)
			for b.Loop() {
				if _, ok := c.Get(context.Background(), "a"); !ok {
					b.Fatal("missed")
				}
			}
		})
	}
}
