package pulls

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/behind"
	"github.com/eblume/caddy-registry/core/bucket"
)

// None of a repository's components begins with _.
const (
	recordPart = "/_pulls"
	daysPart   = "/_days/"
)

// Config configures Times.
type Config struct {
	// Bucket keeps the times under keys that begin with Prefix. It belongs to the caller, who
	// closes it after the Times.
	Bucket bucket.Bucket
	Prefix string
	// Written is told of the pulls of a repository that were counted since it was told last, when
	// they are written. Default: nobody.
	Written func(repo string, counted Record)
	// Log receives messages for operators. Default: discard.
	Log *slog.Logger
}

// Times are how often and when manifests and tags were pulled. They are safe for
// concurrent use.
type Times struct {
	bucket  bucket.Bucket
	prefix  string
	written func(repo string, counted Record)
	log     *slog.Logger
	process string // distinguishes our objects from those of other processes

	mu         sync.Mutex // guards the fields below, for the time of a few map look-ups
	open       map[string]*segment
	closed     []*segment // that must be written once more
	serial     int
	remembered int // the cost of all of them

	behind  *behind.Writer
	folding sync.Mutex // held while a record is read and rewritten
}

// New begins to remember. Close ends it.
func New(c Config) *Times {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Written == nil {
		c.Written = func(string, Record) {}
	}
	var process [8]byte
	rand.Read(process[:])
	t := &Times{
		bucket: c.Bucket, prefix: c.Prefix, written: c.Written, log: c.Log, process: hex.EncodeToString(process[:]),
		open: map[string]*segment{},
	}
	t.behind = behind.Start(behind.Config{
		Every: interval, Write: t.write, Log: t.log, Failed: "pulls cannot be recorded; they are kept in memory",
	})
	return t
}

// Close writes what is in memory. Mark may not be called after it.
func (t *Times) Close() error { return t.behind.Close() }

// Mark notes that the manifest d of repo is pulled now, by tag if that is not empty. by is the user;
// empty: anonymous or unknown. A name of more than 256 bytes counts as unknown. It does no I/O.
func (t *Times) Mark(repo string, d digest.Digest, tag, by string) {
	now := time.Now().UTC()
	if len(by) > maxBy {
		by = ""
	}
	t.mu.Lock()
	s := t.open[repo]
	if day := dayOf(now); s != nil && s.day != day {
		t.closeLocked(s)
		s = nil
	}
	if s == nil && t.remembered < maxRemembered {
		s = t.beginLocked(repo, now)
	}
	if s != nil {
		t.remembered += s.mark(d, tag, by, now, maxRemembered-t.remembered)
	}
	full := t.remembered >= maxRemembered
	t.mu.Unlock()
	if full {
		t.behind.Poke()
	}
}

func (t *Times) beginLocked(repo string, now time.Time) *segment {
	day := dayOf(now)
	key := t.prefix + repo + daysPart + nameOf(day) + "+" + t.process
	if t.serial++; t.serial > 1 {
		key += "-" + strconv.Itoa(t.serial)
	}
	s := &segment{repo: repo, day: day, key: key}
	t.open[repo] = s
	t.remembered += segmentCost
	return s
}

func (t *Times) closeLocked(s *segment) {
	s.closed = true
	delete(t.open, s.repo)
	t.closed = append(t.closed, s)
}

func (t *Times) write(ctx context.Context) error {
	now := time.Now().UTC()
	t.mu.Lock()
	for _, s := range t.open {
		if s.day != dayOf(now) || s.rows() >= maxSegment {
			t.closeLocked(s)
		}
	}
	var dirty []*segment
	for _, s := range t.open {
		if s.dirty {
			dirty = append(dirty, s)
		}
	}
	for _, s := range t.closed {
		if s.dirty && isOver(s.day, now.Add(settled/2)) { // before it may be folded
			t.log.Warn("pulls of a past day could not be recorded, and are lost", "repository", s.repo, "day", nameOf(s.day))
			s.dirty = false
		}
		if s.dirty {
			dirty = append(dirty, s)
		}
	}
	t.mu.Unlock()
	var failed error
	for _, s := range dirty {
		if err := t.put(ctx, s); err != nil && failed == nil {
			failed = err // the other errors are the same
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked()
	return failed
}

// put writes a segment's object. It is not synced: a power cut may undo it, as a kill loses what
// is in memory.
func (t *Times) put(ctx context.Context, s *segment) error {
	t.mu.Lock()
	record := s.record()
	s.dirty = false
	t.mu.Unlock()
	// Under one lock, so that a reader of the bucket sees exactly what was told.
	t.folding.Lock()
	defer t.folding.Unlock()
	data, err := json.Marshal(record)
	if err == nil {
		_, err = t.bucket.Put(ctx, s.key, data, bucket.Condition{})
	}
	if err != nil {
		t.mu.Lock()
		s.dirty = true
		t.mu.Unlock()
		return fmt.Errorf("pulls of %s: %w", s.repo, err)
	}
	counted := record.since(s.told)
	counted.sumDay(nameOf(s.day), counted.Manifests)
	t.written(s.repo, counted)
	s.told = record
	return nil
}

// forgetLocked drops written segments: closed ones, and others when little memory is left. The
// next pull of such a repository begins another object.
func (t *Times) forgetLocked() {
	t.closed = slices.DeleteFunc(t.closed, func(s *segment) bool {
		if !s.dirty {
			t.remembered -= s.cost()
		}
		return !s.dirty
	})
	if t.remembered < maxRemembered/2 {
		return
	}
	var clean []*segment
	for _, s := range t.open {
		if !s.dirty {
			clean = append(clean, s)
		}
	}
	slices.SortFunc(clean, func(a, b *segment) int { return cmp.Or(a.marked.Compare(b.marked), cmp.Compare(a.repo, b.repo)) })
	for _, s := range clean {
		if t.remembered < maxRemembered/2 {
			return
		}
		t.remembered -= s.cost()
		delete(t.open, s.repo)
	}
}

// Of returns when the manifests of repo were last pulled, as far as that is known.
// Errors are the bucket's.
func (t *Times) Of(ctx context.Context, repo string) (map[digest.Digest]time.Time, error) {
	record, err := t.Record(ctx, repo)
	if err != nil {
		return nil, err
	}
	times := make(map[digest.Digest]time.Time, len(record.Manifests))
	for d, c := range record.Manifests {
		times[d] = c.Last
	}
	return times, nil
}

// Record returns all that is known of the pulls of repo. Errors are the bucket's.
func (t *Times) Record(ctx context.Context, repo string) (Record, error) {
	t.folding.Lock()
	defer t.folding.Unlock()
	// Memory first: a segment that is written and forgotten meanwhile is then seen in both. In
	// the other order it would be seen in neither.
	seen := map[string]struct{}{}
	var remembered []struct {
		day string
		Record
	}
	t.mu.Lock()
	for s := range t.ofLocked(repo) {
		seen[s.key] = struct{}{}
		remembered = append(remembered, struct {
			day string
			Record
		}{nameOf(s.day), s.record()})
	}
	t.mu.Unlock()
	record, err := t.stored(ctx, repo, seen)
	for _, one := range remembered {
		record.add(one.day, one.Record)
	}
	return record, err
}

// Stored is Record without the pulls that are not written yet, of which Config.Written will be told.
func (t *Times) Stored(ctx context.Context, repo string) (Record, error) {
	t.folding.Lock()
	defer t.folding.Unlock()
	return t.stored(ctx, repo, map[string]struct{}{})
}

// stored adds up the objects of a repository whose keys are not in seen. The caller holds folding.
func (t *Times) stored(ctx context.Context, repo string, seen map[string]struct{}) (Record, error) {
	record, err := t.read(ctx, repo)
	if err != nil {
		return Record{}, err
	}
	for _, name := range record.Folded {
		seen[t.prefix+repo+daysPart+name] = struct{}{}
	}
	for object, err := range t.days(ctx, repo) {
		if err != nil {
			return Record{}, err
		}
		if _, ok := seen[object.key]; ok {
			continue
		}
		one, err := t.get(ctx, repo, object.key)
		if err != nil {
			return Record{}, err
		}
		record.add(nameOf(object.day), one)
	}
	record.Folded = nil
	return record, nil
}

// ofLocked are the segments of one repository.
func (t *Times) ofLocked(repo string) iter.Seq[*segment] {
	return func(yield func(*segment) bool) {
		if s := t.open[repo]; s != nil && !yield(s) {
			return
		}
		for _, s := range t.closed {
			if s.repo == repo && !yield(s) {
				return
			}
		}
	}
}

// Repositories yields the repositories that the bucket has pulls of, in no order.
func (t *Times) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		last := ""
		for info, err := range t.bucket.List(ctx, t.prefix, "") {
			if err != nil {
				yield("", err)
				return
			}
			rest := strings.TrimPrefix(info.Key, t.prefix)
			repo, ok := strings.CutSuffix(rest, recordPart)
			if !ok {
				repo, _, ok = strings.Cut(rest, daysPart)
			}
			if !ok || repo == last { // all keys of a repository are adjacent
				continue
			}
			last = repo
			if !yield(repo, nil) {
				return
			}
		}
	}
}

// get reads an object. If it is gone or damaged, its statistics are lost.
func (t *Times) get(ctx context.Context, repo, key string) (Record, error) {
	data, _, err := t.bucket.Get(ctx, key)
	if errors.Is(err, bucket.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("pulls of %s: %w", repo, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		t.log.Warn("record of pulls is damaged; counting starts again", "repository", repo, "key", key, "error", err)
		return Record{}, nil
	}
	return r, nil
}

// read reads the record of the days that were folded.
func (t *Times) read(ctx context.Context, repo string) (Record, error) {
	return t.get(ctx, repo, t.prefix+repo+recordPart)
}
