package store

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
)

// Content describes the object of one digest and the repositories that hold it, as a blob
// or as a manifest, in order.
type Content struct {
	Digest digest.Digest
	Size   int64 // bytes
	Repos  []string
}

// Contents yields all the content of the store in the order of digests. It merges the
// lists of content with its links and of manifests and reads no object, so it needs
// little memory; on a local disk it costs one stat of each file.
func (s *Store) Contents(ctx context.Context) iter.Seq2[Content, error] {
	return s.ContentsIn(ctx, "")
}

// Part is a part of the content of a store: the digests with one algorithm and the same
// first two digits. The empty part is everything.
type Part string

// Parts returns all parts, in the order of Contents.
func Parts() []Part {
	var parts []Part
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		for n := range 256 {
			parts = append(parts, Part(fmt.Sprintf("%s/%02x/", algorithm, n)))
		}
	}
	return parts
}

// ContentsIn is Contents of one part.
func (s *Store) ContentsIn(ctx context.Context, part Part) iter.Seq2[Content, error] {
	return func(yield func(Content, error) bool) {
		for c, err := range s.contents(ctx, part, nil) {
			if !yield(c.Content, err) || err != nil {
				return
			}
		}
	}
}

// listed is content as a list shows it.
type listed struct {
	Content
	info bucket.Info
	// waits: a hold that nothing needs is left, because its grace is not over.
	waits bool
}

// contents is ContentsIn, without the holds that nothing needs.
func (s *Store) contents(ctx context.Context, part Part, without unneeded) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		manifests := s.follow(ctx, part)
		defer manifests.stop()
		var c listed // its links are still being read; no content if its digest is empty
		end := func() bool {
			if c.Digest == "" {
				return true
			}
			if err := manifests.upTo(&c, without); err != nil {
				yield(listed{}, err)
				return false
			}
			slices.Sort(c.Repos)
			c.Repos = slices.Compact(c.Repos)
			return yield(c, nil)
		}
		for info, err := range s.bucket.List(ctx, blobsPrefix+string(part), "") {
			if err != nil {
				yield(listed{}, err)
				return
			}
			if d, ok := splitBlob(info.Key); ok {
				if !end() {
					return
				}
				c = listed{Content: Content{Digest: d, Size: info.Size}, info: info}
				continue
			}
			d, repo, ok := splitHold(info.Key, blobsPrefix)
			if ok && d == c.Digest { // not the link of content that is gone
				c.hold(repo, without[info.Key])
			}
		}
		end()
	}
}

// hold adds a repository that holds the content.
func (c *listed) hold(repo string, f fate) {
	if f == needed {
		c.Repos = append(c.Repos, repo)
	}
	c.waits = c.waits || f == waiting
}

// following walks over the holds of manifests, in step with the content.
type following struct {
	prefix string
	next   func() (bucket.Info, error, bool)
	stop   func()
	ahead  bucket.Info // read, and not used yet
	has    bool
}

func (s *Store) follow(ctx context.Context, part Part) *following {
	f := &following{prefix: manifestsPrefix}
	f.next, f.stop = iter.Pull2(s.bucket.List(ctx, manifestsPrefix+string(part), ""))
	return f
}

// upTo adds to c the repositories that hold it. It leaves behind what sorts before c,
// which is content that is gone.
func (f *following) upTo(c *listed, without unneeded) error {
	for {
		if !f.has {
			info, err, more := f.next()
			if err != nil || !more {
				return err
			}
			f.ahead, f.has = info, true
		}
		held, repo, ok := splitHold(f.ahead.Key, f.prefix)
		if ok && content(held) > content(c.Digest) {
			return nil
		}
		f.has = false
		if ok && held == c.Digest {
			c.hold(repo, without[f.ahead.Key])
		}
	}
}
