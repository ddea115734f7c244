package mirror_test

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/cache/redis"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream/upstreamtest"
)

// startRedis runs a real one: the figure is the way to another process and back.
func startRedis(b *testing.B) *redis.Cache {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", b.TempDir())
	if err := server.Start(); err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { server.Process.Kill(); server.Wait() })
	for range 1000 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c, err := redis.New(redis.Config{Addresses: []string{address}, Secret: []byte("a secret of sixteen bytes"), Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// BenchmarkManifest is a GET of a manifest by where it is found: in memory, in the
// store, in Redis, at an upstream that is on loopback and answers at once.
func BenchmarkManifest(b *testing.B) {
	up := upstreamtest.New(b, upstreamtest.Config{})
	const mediaType = "application/vnd.oci.image.index.v1+json"
	put := func(i int) core.Reference {
		body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"n":"%d","filler":"%01000d"}}`, mediaType, i, 0)
		return core.Reference{Digest: up.Manifest("library/nginx", mediaType, body, fmt.Sprint("tag-", i))}
	}
	get := func(b *testing.B, m *mirror.Mirror, ref core.Reference, want digest.Digest) {
		b.Helper()
		if found, err := m.Manifest(fetch, repo, ref); err != nil || found.Descriptor.Digest != want {
			b.Fatal(found.Descriptor, err)
		}
	}
	// Many, one after the other: a memory that is too small for one has lost it when its
	// turn comes again.
	const many = 64
	var held [many]core.Reference
	for i := range held {
		held[i] = put(i)
	}
	tagOf := func(i int) core.Reference { return core.Reference{Tag: fmt.Sprint("tag-", i)} }
	for _, row := range []struct {
		name   string
		memory int64 // of the store
		tag    bool
	}{
		{"memory/tag", 0, true}, {"memory/digest", 0, false},
		{"store/tag", 256, true}, {"store/digest", 256, false},
	} {
		b.Run(row.name, func(b *testing.B) {
			here := place{b.TempDir(), row.memory}
			m, stop := nodeIn(b, here, up, nil, "", nil)
			for i := range held {
				get(b, m, tagOf(i), held[i].Digest)
			}
			stop() // they are in the store then
			m, _ = nodeIn(b, here, up, nil, "", nil)
			for i := range held {
				get(b, m, tagOf(i), held[i].Digest)
			}
			for i := 0; b.Loop(); i++ {
				ref := held[i%many]
				if row.tag {
					ref = tagOf(i % many)
				}
				get(b, m, ref, held[i%many].Digest)
			}
		})
	}
	// Found manifests are then held, so each is requested once. It is kept behind the
	// answer, and after some hundred of them answers wait for the disk: -benchtime 200x.
	for _, row := range []struct {
		name   string
		shared func(*testing.B) mirror.Shared
		tag    bool
	}{
		{"redis/tag", func(b *testing.B) mirror.Shared { return startRedis(b) }, true},
		{"redis/digest", func(b *testing.B) mirror.Shared { return startRedis(b) }, false},
		{"upstream/digest", func(*testing.B) mirror.Shared { return nil }, false},
	} {
		b.Run(row.name, func(b *testing.B) {
			shared := row.shared(b)
			one, _ := nodeIn(b, place{directory: b.TempDir()}, up, shared, "", nil)
			two, _ := nodeIn(b, place{directory: b.TempDir()}, up, shared, "", nil)
			refs := make([]core.Reference, b.N)
			for i := range refs {
				refs[i] = put(i)
				if shared != nil {
					get(b, one, tagOf(i), refs[i].Digest)
				}
			}
			up.Forget()
			b.ResetTimer()
			for i, ref := range refs {
				asked := ref
				if row.tag {
					asked = tagOf(i)
				}
				get(b, two, asked, ref.Digest)
			}
			b.StopTimer()
			if shared != nil && len(up.Requests()) > 0 {
				b.Errorf("the upstream was asked %d times", len(up.Requests()))
			}
		})
	}
}
