package mirror

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// maxUnread bounds the downloads that nobody reads any more. They go on, because the
// next client wants the blob too; beyond this many, the one that was left first is
// stopped, and what it has is found again by the next that asks.
const maxUnread = 8

// errUnread ends a download that nobody reads. Who came in that moment looks again.
var errUnread = errors.New("download was stopped because nobody read it")

// errHeld ends a download of what is held already. Who waits looks again.
var errHeld = errors.New("blob is held already")

// downloads are those in flight: one for each digest, and one more for each repository
// that the upstream hides, whose bytes nobody else is given.
type downloads struct {
	mu      sync.Mutex // guards running, left, and the fields of a download that say so
	running map[blobID]*download
	left    uint64 // counts the times that a download was left by its last reader
}

// Downloads returns how many blobs are being downloaded, and how many clients wait for them
// or follow them.
func (m *Mirror) Downloads() (running, readers int) {
	m.downloads.mu.Lock()
	defer m.downloads.mu.Unlock()
	for _, dl := range m.downloads.running {
		readers += dl.readers
	}
	return len(m.downloads.running), readers
}

// join follows a download that is in flight and that repo takes part in, or returns nil.
func (ds *downloads) join(ctx context.Context, repo string, slot blobID) *follower {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if dl := ds.running[slot]; dl != nil && slices.Contains(dl.repos, repo) {
		return dl.follow(ctx, repo)
	}
	return nil
}

// has tells whether a download is in flight that repo takes part in.
func (ds *downloads) has(repo string, slot blobID) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	dl := ds.running[slot]
	return dl != nil && slices.Contains(dl.repos, repo)
}

// size returns how large the blob of a download in flight is, or -1 as long as it is not
// known, and whether there is such a download.
func (ds *downloads) size(slot blobID) (size int64, running bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	dl := ds.running[slot]
	if dl == nil {
		return -1, false
	}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	return dl.size, true
}

// add has repo take part in the download that is in flight, after the upstream has
// attested that it has the blob. false: there is none.
func (ds *downloads) add(repo string, slot blobID) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	dl := ds.running[slot]
	if dl == nil {
		return false
	}
	if !slices.Contains(dl.repos, repo) {
		dl.repos = append(dl.repos, repo)
	}
	return true
}

// start begins a download and follows it, or the one that there is meanwhile. It
// returns nil if that is another repository's.
func (ds *downloads) start(ctx context.Context, m *Mirror, repo string, slot blobID) *follower {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if dl := ds.running[slot]; dl != nil {
		if slices.Contains(dl.repos, repo) {
			return dl.follow(ctx, repo)
		}
		return nil
	}
	dl := newDownload(ctx, m, repo, slot)
	if ds.running == nil {
		ds.running = make(map[blobID]*download)
	}
	ds.running[slot] = dl
	m.background.Go(dl.run)
	return dl.follow(ctx, repo)
}

// leave counts a reader out, and stops a download if too many are unread.
func (ds *downloads) leave(dl *download) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	dl.readers--
	if dl.readers > 0 {
		return
	}
	ds.left++
	dl.left = ds.left
	unread, first := 0, (*download)(nil)
	for _, other := range ds.running {
		if other.readers > 0 || other.stopped {
			continue
		}
		unread++
		if first == nil || other.left < first.left {
			first = other
		}
	}
	if unread > maxUnread {
		first.stopped = true
		first.cancel(errUnread)
	}
}

// unlinked returns the repositories that have joined the download and are not in
// linked. If there are none the download is over: nobody joins it from now on.
func (ds *downloads) unlinked(dl *download, linked []string) []string {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	var more []string
	for _, repo := range dl.repos {
		if !slices.Contains(linked, repo) {
			more = append(more, repo)
		}
	}
	if more == nil {
		delete(ds.running, dl.slot)
	}
	return more
}

// over takes a download out, but not the one that may have taken its place.
func (ds *downloads) over(dl *download) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.running[dl.slot] == dl {
		delete(ds.running, dl.slot)
	}
}
