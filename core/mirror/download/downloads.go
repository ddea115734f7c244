package download

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/memo"
)

// maxUnread bounds the downloads without readers. They continue, because the next client wants
// the blob too. Beyond this many, the one that lost its readers first is stopped, and the next
// download of the blob continues from its bytes.
const maxUnread = 8

// An upstream may send something other than the requested part of a blob. Such a blob is
// downloaded in order for a day; those of maxMistrusted are remembered.
const (
	maxMistrusted = 1 << 10
	mistrustedFor = 24 * time.Hour
)

// errUnread ends a download without readers. Readers that join at that moment look the blob up
// again.
var errUnread = errors.New("download was stopped because it had no readers")

// errHeld ends a download whose blob is already stored. Waiting readers look it up again.
var errHeld = errors.New("blob is held already")

// Again reports whether an error of Follower.Open means that the blob was stored or removed
// meanwhile, and must be looked up again.
func Again(err error) bool { return errors.Is(err, errUnread) || errors.Is(err, errHeld) }

// Slot identifies the download of a blob that a repository takes part in. There is one for each
// digest, whose Repo is empty, and one more for each repository that the upstream hides, whose
// bytes are not given to other repositories.
type Slot struct {
	Repo   string
	Digest digest.Digest
}

// Downloads are those in flight. They are safe for concurrent use.
type Downloads struct {
	config Config

	mu      sync.Mutex // guards running, left, and the fields of a download that say so
	running map[Slot]*download
	left    uint64 // counts the times that a download was left by its last reader

	// mistrusted are blobs whose digest was wrong with bytes that were fetched ahead.
	mistrusted *memo.Memo[digest.Digest, struct{}]

	life       context.Context // ends with Close
	stop       context.CancelFunc
	background sync.WaitGroup
}

// New makes Downloads. Close ends them.
func New(c Config) *Downloads {
	ds := &Downloads{
		config: c, running: map[Slot]*download{},
		mistrusted: memo.New[digest.Digest, struct{}](maxMistrusted, mistrustedFor, time.Now),
	}
	ds.life, ds.stop = context.WithCancel(context.Background())
	return ds
}

// Close stops the downloads and waits for them. Their readers get an error; the next download of
// a blob continues from the bytes so far.
func (ds *Downloads) Close() {
	ds.stop()
	ds.background.Wait()
}

// Count returns how many blobs are being downloaded, and how many clients wait for them or
// follow them.
func (ds *Downloads) Count() (running, readers int) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, dl := range ds.running {
		readers += dl.readers
	}
	return len(ds.running), readers
}

// Running is a download in flight.
type Running struct {
	Slot
	// Repos are the repositories that take part in it, the first one first.
	Repos []string
	// Held of Size bytes are here. Size is -1 as long as it is not known.
	Held, Size int64
	Readers    int
}

// List returns the downloads in flight, in the order of their digests.
func (ds *Downloads) List() []Running {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	all := make([]Running, 0, len(ds.running))
	for slot, dl := range ds.running {
		one := Running{Slot: slot, Repos: slices.Clone(dl.repos), Readers: dl.readers}
		dl.mu.Lock()
		one.Held, one.Size = dl.held, dl.size
		dl.mu.Unlock()
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Repo, b.Repo))
	})
	return all
}

// Join follows a download that is in flight and that repo takes part in, or returns nil.
func (ds *Downloads) Join(ctx context.Context, repo string, slot Slot) *Follower {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if dl := ds.running[slot]; dl != nil && slices.Contains(dl.repos, repo) {
		return dl.follow(ctx, repo)
	}
	return nil
}

// Has reports whether a download is in flight that repo takes part in.
func (ds *Downloads) Has(repo string, slot Slot) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	dl := ds.running[slot]
	return dl != nil && slices.Contains(dl.repos, repo)
}

// Size returns how large the blob of a download in flight is, or -1 as long as it is not
// known, and whether there is such a download.
func (ds *Downloads) Size(slot Slot) (size int64, running bool) {
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

// Add adds repo to the download that is in flight, after the upstream has attested that repo has
// the blob. It returns false if there is no such download.
func (ds *Downloads) Add(repo string, slot Slot) bool {
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

// Start begins a download and follows it, or the one that there is meanwhile. It
// returns nil if that is another repository's.
func (ds *Downloads) Start(ctx context.Context, repo string, slot Slot) *Follower {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if dl := ds.running[slot]; dl != nil {
		if slices.Contains(dl.repos, repo) {
			return dl.follow(ctx, repo)
		}
		return nil
	}
	dl := newDownload(ctx, ds, repo, slot)
	ds.running[slot] = dl
	ds.background.Go(dl.run)
	return dl.follow(ctx, repo)
}

// leave removes a reader, and stops a download if too many have no readers.
func (ds *Downloads) leave(dl *download) {
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

// mistrust has a blob downloaded in order.
func (ds *Downloads) mistrust(d digest.Digest) { ds.mistrusted.Set(d, struct{}{}) }

// unlinked returns the repositories that have joined the download and are not in
// linked. If there are none the download is over: no reader joins it from now on.
func (ds *Downloads) unlinked(dl *download, linked []string) []string {
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

// over takes a download out of the table, but not one that has replaced it.
func (ds *Downloads) over(dl *download) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.running[dl.slot] == dl {
		delete(ds.running, dl.slot)
	}
}
