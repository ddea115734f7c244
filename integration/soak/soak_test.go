package soak

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

var lasts = flag.Duration("for", 5*time.Second, "how long the load lasts; less than two minutes are not judged")

const (
	// judged is the shortest load that is long enough to tell a leak from a cache that fills.
	judged = 2 * time.Minute
	// settles is how long idle connections may take to end after the load.
	settles = 3 * time.Minute
	// maxFailed is how many of 1,000 steps may fail because their connection was closed: a reload
	// closes those that wait for Caddy's previous listener. No other step may fail.
	maxFailed = 5
)

// configuration is the Caddyfile, in the given version: each reload loads another one.
func configuration(hub *upstreamtest.Upstream, version int) string {
	return fmt.Sprintf(`{
	grace_period 2s
	metrics
	oci {
		storage file {$REGISTRY_DATA}
		mirror docker.io {
			upstream %s
			allow_private %s
			ttl 5s
		}
		gc {
			grace 20s
			uploads 10s
		}
		limits {
			uploads 1000
		}
		policy {
			allow anonymous read fetch
			allow group admins *
		}
	}
}

http://127.0.0.1:{$REGISTRY_PORT} {
	metrics /metrics
	respond /version %d
	oci_registry
}
`, hub.URL, strings.Join(hub.AllowPrivate(), " "), version)
}

func TestSoak(t *testing.T) {
	hub := upstreamtest.New(t, upstreamtest.Config{})
	l := &load{failed: map[string]failure{}}
	for i := range max(mirrored, pushed) {
		image := client.NewImage(uint64(i), layers, layerSize)
		l.images = append(l.images, image)
		for _, blob := range image.Blobs {
			hub.Blob(name(i), blob)
		}
		hub.Manifest(name(i), ocispec.MediaTypeImageManifest, image.Manifest, "v1")
	}
	s := server.Start(t, server.Options{Caddyfile: configuration(hub, 0)})
	l.url = s.URL
	l.secret, _ = s.Key(t, "soak", "admins")
	// The first sample is taken after all that is made once, and stays.
	warm, cancel := context.WithTimeout(t.Context(), time.Second)
	l.run(warm)
	cancel()
	operate(t, s, hub)
	before, err := take(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}

	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), *lasts)
	defer cancel()
	done := make(chan struct{})
	go func() {
		l.run(ctx)
		close(done)
	}()
	samples := watch(t, ctx, s, hub, l, begun)
	<-done

	var after sample
	err = server.Eventually(settles, func() (bool, error) {
		var err error
		if after, err = take(t.Context(), s); err != nil {
			return false, err
		}
		return *lasts < judged || idle(before, after) == nil, nil
	})
	if err != nil {
		t.Error(errors.Join(append(idle(before, after), err)...))
	}
	var out bytes.Buffer
	table(&out, before, after, samples)
	t.Logf("%s of load, %d steps, %d samples\n%s", *lasts, l.ended.Load(), len(samples), out.Bytes())
	for kind, f := range l.failed {
		t.Logf("%d steps failed: %s: %v", f.times, kind, f.first)
		if kind != cut || int64(f.times)*1000 > l.ended.Load()*maxFailed {
			t.Errorf("%d of %d steps failed: %s", f.times, l.ended.Load(), kind)
		}
	}
	if *lasts < judged {
		return
	}
	for _, err := range judge(samples) {
		t.Error(err)
	}
}

// watch takes samples until the load ends, and has the server operated after each of them.
func watch(t *testing.T, ctx context.Context, s *server.Server, hub *upstreamtest.Upstream, l *load, begun time.Time) (samples []sample) {
	tick := time.NewTicker(max(*lasts/200, 500*time.Millisecond))
	defer tick.Stop()
	for version := 1; ; version++ {
		select {
		case <-ctx.Done():
			return samples
		case <-tick.C:
		}
		now, err := take(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		now.at, now.requests = time.Since(begun), l.ended.Load()
		samples = append(samples, now)
		hub.Forget() // what it has recorded would grow here
		switch version % 5 {
		case 0:
			reload(t, s, hub, version)
		case 1, 3:
			command(t, s, "purge", "docker.io/"+name(version%mirrored))
		case 2:
			command(t, s, "gc")
		case 4:
			_, id := s.Key(t, "soak-short", "admins")
			s.Revoke(t, id)
		}
	}
}

// operate does once what watch does.
func operate(t *testing.T, s *server.Server, hub *upstreamtest.Upstream) {
	reload(t, s, hub, 0)
	command(t, s, "gc")
	_, id := s.Key(t, "soak-short", "admins")
	s.Revoke(t, id)
}

func reload(t *testing.T, s *server.Server, hub *upstreamtest.Upstream, version int) {
	t.Helper()
	if err := s.Configure(configuration(hub, version)); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context(), t); err != nil {
		t.Fatal(err)
	}
}

// command runs `registry` with a storage. A purge of what is not held exits with status 1.
func command(t *testing.T, s *server.Server, args ...string) {
	t.Helper()
	args = append([]string{"registry", args[0], "--storage", s.Data}, args[1:]...)
	out, err := s.Command(t.Context(), t, args...).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("holds nothing")) {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// take takes a sample, after a collection of the heap.
func take(ctx context.Context, s *server.Server) (now sample, err error) {
	heap, err := s.Admin(ctx, "/debug/pprof/heap?gc=1&debug=1")
	if err == nil {
		now.heap, err = number(string(heap), "# HeapInuse = ")
	}
	if err != nil {
		return now, err
	}
	goroutines, err := s.Admin(ctx, "/debug/pprof/goroutine?debug=1")
	if err == nil {
		now.goroutines, err = number(string(goroutines), "goroutine profile: total ")
	}
	if err != nil {
		return now, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err == nil {
		now.resident, err = number(string(status), "VmRSS:")
		now.resident <<= 10 // it is in kB
	}
	if err != nil {
		return now, err
	}
	folder := fmt.Sprintf("/proc/%d/fd", s.PID())
	files, err := os.ReadDir(folder)
	for _, file := range files {
		switch info, err := os.Stat(filepath.Join(folder, file.Name())); {
		case err != nil: // closed meanwhile, or of a socket that has no file
			now.files++
		case info.IsDir():
			now.folders++
		default:
			now.files++
		}
	}
	return now, err
}

// number returns the number after a label.
func number(text, label string) (n int64, err error) {
	_, rest, ok := strings.Cut(text, label)
	if !ok {
		return 0, fmt.Errorf("no %q in the answer", label)
	}
	_, err = fmt.Sscan(rest, &n)
	return n, err
}
