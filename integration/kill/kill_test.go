package kill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

const (
	// rounds of load, kill, restart and proof; REGISTRY_KILL_ROUNDS sets another number.
	rounds = 15
	// writers push and delete at the same time, each in its own repository.
	writers = 4
	// tagsEach is few, so that tags are overwritten and deleted and pushed again.
	tagsEach = 6
	// longest and shortest life of a server under load.
	longest, shortest = 1500 * time.Millisecond, 50 * time.Millisecond
	// patience bounds the life of a server on a busy machine.
	patience = time.Minute
)

// collecting is a server whose collector has work in each round: it removes untagged manifests,
// and its grace is so short that pushes lose blobs to it.
const collecting = `{
	oci {
		storage file {$REGISTRY_DATA}
		gc {
			grace 100ms
			untagged 100ms
		}
		policy {
			allow anonymous *
		}
	}
}

http://127.0.0.1:{$REGISTRY_PORT} {
	oci_registry
}
`

func TestNothingAcknowledgedIsLostByKill(t *testing.T) {
	total := rounds
	if more := os.Getenv("REGISTRY_KILL_ROUNDS"); more != "" {
		n, err := strconv.Atoi(more)
		if err != nil {
			t.Fatal(err)
		}
		total = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	l := newLedger()
	s := server.Start(t, server.Options{Caddyfile: collecting})
	data, port := s.Data, s.Port
	var sum tally
	limit := longest
	for round := 0; round < total || !sum.whole() && limit < patience; round++ {
		if round >= total {
			limit *= 2 // the machine is busy: live longer, until there was everything
		}
		life := shortest + time.Duration(random.Int64N(int64(limit-shortest)))
		done := load(t, s, l, random.Uint64(), life)
		sum.add(done)
		s = server.Start(t, server.Options{Caddyfile: collecting, Data: data, Port: port})
		n, err := prove(t.Context(), s, l)
		sum.cut += n
		if err != nil {
			t.Fatalf("round %d, killed after %s: %v", round, life, err)
		}
	}
	t.Logf("%+v; all read back", sum)
	if !sum.whole() {
		t.Error("the load did not cover every kind of operation")
	}
}

// tally counts what happened in one run of a server: operations acknowledged, pushes refused
// because the collector was faster, runs of the collector, blobs that it removed, and
// operations that the kill cut off.
type tally struct{ acknowledged, refused, collections, collected, cut int }

// whole reports whether there was at least one of everything that a kill must not break.
func (sum *tally) whole() bool {
	return sum.acknowledged > 0 && sum.collections > 0 && sum.collected > 0 && sum.cut > 0
}

func (sum *tally) add(t tally) {
	sum.acknowledged += t.acknowledged
	sum.refused += t.refused
	sum.collections += t.collections
	sum.collected += t.collected
	sum.cut += t.cut
}

// load works the server until it has lived for life, and kills it.
func load(t *testing.T, s *server.Server, l *ledger, seed uint64, life time.Duration) tally {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var (
		group sync.WaitGroup
		mu    sync.Mutex // guards done
		done  tally
	)
	for writer := range writers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(writer)))
			n, err := work(ctx, s, l, random, writer)
			mu.Lock()
			defer mu.Unlock()
			done.add(n)
			if err != nil {
				t.Errorf("writer %d: %v", writer, err)
			}
		})
	}
	group.Go(func() {
		for ctx.Err() == nil {
			out, err := s.Command(ctx, t, "registry", "gc", "--json", "--storage", s.Data).Output()
			if err != nil {
				return // the kill came
			}
			var report struct{ Private struct{ Blobs int } }
			if err := json.Unmarshal(out, &report); err != nil {
				t.Errorf("registry gc wrote %q: %v", out, err)
				return
			}
			mu.Lock()
			done.add(tally{collections: 1, collected: report.Private.Blobs})
			mu.Unlock()
		}
	})
	<-time.After(life)
	s.Kill()
	stop()
	group.Wait()
	return done
}

// work pushes and deletes until the server is gone. It returns the counts, and an error for an
// answer that a kill does not explain.
func work(ctx context.Context, s *server.Server, l *ledger, random *rand.Rand, writer int) (done tally, err error) {
	c := client.New(s.URL)
	defer c.Close()
	for ctx.Err() == nil {
		tag := l.pick(random, writer, tagsEach)
		if tag.acknowledged != nil && random.IntN(4) == 0 {
			tag.begin(nil)
			err = c.DeleteManifest(ctx, tag.repo, tag.name)
		} else {
			// Few seeds, so that images are repeated whose blobs exist or are being removed.
			image := client.NewImage(random.Uint64N(12), 1+random.IntN(3), 1<<random.IntN(18))
			tag.begin(&image)
			err = c.PushImage(ctx, tag.repo, tag.name, image)
		}
		var status *client.StatusError
		switch {
		case errors.As(err, &status) && strings.Contains(status.Body, "MANIFEST_BLOB_UNKNOWN"):
			tag.settle(tag.acknowledged)
			done.refused++
			continue
		case errors.As(err, &status):
			return done, err
		case err != nil:
			return done, nil // the connection broke: the kill
		}
		tag.done()
		done.acknowledged++
	}
	return done, nil
}

// prove reads every tag back and verifies every digest under it. It returns how many operations
// had been cut off, and resolves them by the result.
func prove(ctx context.Context, s *server.Server, l *ledger) (cut int, err error) {
	c := client.New(s.URL)
	defer c.Close()
	for _, tag := range l.all() {
		found, err := c.PullImage(ctx, tag.repo, tag.name)
		var status *client.StatusError
		absent := errors.As(err, &status) && status.Status == http.StatusNotFound
		if err != nil && !(absent && status.Path == "/v2/"+tag.repo+"/manifests/"+tag.name) {
			return cut, fmt.Errorf("%s:%s is broken: %w", tag.repo, tag.name, err)
		}
		is := func(image *client.Image) bool {
			if image == nil {
				return absent
			}
			return !absent && image.Digest() == found
		}
		switch {
		case tag.pending && is(tag.after):
			cut++
			tag.settle(tag.after)
		case is(tag.acknowledged):
			if tag.pending {
				cut++
			}
			tag.settle(tag.acknowledged)
		default:
			return cut, fmt.Errorf("%s:%s is %q, want %s (pending %t: %s)",
				tag.repo, tag.name, found, name(tag.acknowledged), tag.pending, name(tag.after))
		}
	}
	return cut, nil
}

// name is an image in an error.
func name(image *client.Image) string {
	if image == nil {
		return "nothing"
	}
	return image.Digest().String()
}
