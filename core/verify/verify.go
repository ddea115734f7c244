package verify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/store"
)

const (
	// DefaultRate is how much is read, in bytes a second: a disk of any kind has as much to
	// spare while it serves.
	DefaultRate = 20 << 20
	// Keep is how long content stays in the quarantine.
	Keep = 30 * 24 * time.Hour
)

// ErrUnknown is returned for a repository without stored content.
var ErrUnknown = errors.New("nothing is stored of this repository")

// Tree is a store and its name.
type Tree struct {
	Name  string
	Store Store
	// Mirror: missing content is fetched when a client requests it, and is not damage.
	Mirror bool
}

// Config configures a Verifier. Its parts belong to the caller, who closes them after the
// Verifier.
type Config struct {
	Trees []Tree
	// State is where the last run is remembered, at StateKey.
	State bucket.Bucket
	// Ended is called with the report of each run over everything. Default: no call.
	Ended func(*Report)
	// Log receives messages for operators. Default: discard.
	Log *slog.Logger
}

// Settings may change while a Verifier is in use. Zero values mean the defaults.
type Settings struct {
	// Every is the time between the end of a run in the background and the next run.
	// Default: none runs.
	Every time.Duration
	// Rate is how much all runs read together, in bytes a second. Default: DefaultRate.
	Rate int64
}

// Stats are the statistics of a Verifier since New.
type Stats struct {
	ReadBytes int64
	// Damaged counts findings, by tree.
	Damaged map[string]int
	// Quarantine counts what is in the quarantine now, by tree.
	Quarantine map[string]Amount
	// Finished is when a run over everything ended last, also before New; zero: never.
	Finished time.Time
}

// Verifier runs verifications: background runs one after the other, and those of Run. It is safe
// for concurrent use.
type Verifier struct {
	Config
	pace *pace

	mu       sync.Mutex // guards the fields below
	every    time.Duration
	end      context.CancelFunc // of the run in the background, or nil
	asked    context.Context    // of the calls of Run
	cut      context.CancelFunc // of asked
	progress progress
	stats    Stats

	wake       chan struct{} // has one element when every has changed
	life       context.Context
	stop       context.CancelFunc
	background sync.WaitGroup
}

// New makes a Verifier. No background run starts before SetSettings sets the interval. ctx bounds
// the reading of the last run's record.
func New(ctx context.Context, c Config) *Verifier {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{
		Config: c, pace: newPace(DefaultRate), wake: make(chan struct{}, 1),
		stats: Stats{Damaged: map[string]int{}, Quarantine: map[string]Amount{}},
	}
	v.progress = v.recall(ctx)
	v.stats.Finished = v.progress.Finished
	v.life, v.stop = context.WithCancel(context.Background())
	v.asked, v.cut = context.WithCancel(v.life)
	v.background.Go(v.schedule)
	return v
}

// SetSettings changes the settings, also for runs that are under way.
func (v *Verifier) SetSettings(s Settings) {
	if s.Rate <= 0 {
		s.Rate = DefaultRate
	}
	v.pace.set(s.Rate)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.every = max(s.Every, 0); v.every == 0 && v.end != nil {
		v.end()
	}
	v.poke()
}

// Interrupt ends the present calls of Run.
func (v *Verifier) Interrupt() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cut()
	v.asked, v.cut = context.WithCancel(v.life)
}

// Close ends all runs, and waits for the background run.
func (v *Verifier) Close() error {
	if v == nil {
		return nil
	}
	v.stop()
	v.background.Wait()
	return nil
}

// Run verifies once. Damage is not an error; it is in the report. Errors: ErrUnknown, the
// end of ctx, and errInterrupted.
func (v *Verifier) Run(ctx context.Context, o Options) (*Report, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	v.mu.Lock()
	defer context.AfterFunc(v.asked, func() { end(errInterrupted) })()
	v.mu.Unlock()
	report, err := v.run(ctx, o, func(Tree, store.Part) bool { return false })
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if o.Repository == "" {
		v.finish(ctx, o.Repair)
		v.ended(report)
	}
	return report, nil
}

// errInterrupted is why a run ends before its time.
var errInterrupted = errors.New("the registry is stopping")

func (v *Verifier) run(ctx context.Context, o Options, skip func(Tree, store.Part) bool) (*Report, error) {
	r := &run{Verifier: v, Options: o, report: newReport(o), skip: skip}
	if err := r.all(ctx); err != nil {
		return nil, err
	}
	if o.Repository != "" && !r.held && r.report.Found.Trouble == 0 {
		return nil, fmt.Errorf("%s: %w", o.Repository, ErrUnknown)
	}
	if err := v.countQuarantine(ctx); err != nil {
		r.report.addTrouble(Trouble{What: "quarantine", Error: err.Error()})
	}
	v.mu.Lock()
	maps.Copy(r.report.Quarantine, v.stats.Quarantine)
	v.mu.Unlock()
	r.report.Finished = time.Now().UTC()
	v.Log.Info("verified", "repository", o.Repository, "repair", o.Repair, "found", r.report.Found,
		"quarantined", r.report.Moved, "read", r.report.Read, "took", r.report.Finished.Sub(r.report.Started))
	return r.report, nil
}

// Expire removes objects that have been in the quarantine for longer than Keep, and counts the
// rest.
func (v *Verifier) Expire(ctx context.Context) error {
	var failed []error
	for _, tree := range v.Trees {
		dropped, err := tree.Store.DropQuarantined(ctx, time.Now().Add(-Keep))
		if dropped > 0 {
			v.Log.Info("removed from the quarantine", "tree", tree.Name, "objects", dropped)
		}
		failed = append(failed, err)
	}
	return errors.Join(append(failed, v.countQuarantine(ctx))...)
}

// Quarantiner is a tree with a quarantine: a store.Store.
type Quarantiner interface {
	Quarantine(ctx context.Context, d digest.Digest, version string) (moved bool, err error)
	Quarantined(ctx context.Context) iter.Seq2[store.Quarantined, error]
	DropQuarantined(ctx context.Context, before time.Time) (dropped int, err error)
}

// InQuarantine counts what is in the quarantine of a tree.
func InQuarantine(ctx context.Context, tree Quarantiner) (in Amount, err error) {
	for q, err := range tree.Quarantined(ctx) {
		if err != nil {
			return in, fmt.Errorf("quarantine: %w", err)
		}
		in.Objects++
		in.Bytes += q.Size
	}
	return in, nil
}

func (v *Verifier) countQuarantine(ctx context.Context) error {
	var failed []error
	for _, tree := range v.Trees {
		in, err := InQuarantine(ctx, tree.Store)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", tree.Name, err))
			continue
		}
		v.mu.Lock()
		v.stats.Quarantine[tree.Name] = in
		v.mu.Unlock()
	}
	return errors.Join(failed...)
}

// Stats returns the counts so far.
func (v *Verifier) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	stats := v.stats
	stats.Damaged, stats.Quarantine = maps.Clone(stats.Damaged), maps.Clone(stats.Quarantine)
	return stats
}

// count counts bytes that were read.
func (v *Verifier) count(read *Read, n int64) {
	read.Bytes += n
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats.ReadBytes += n
}

// damaged counts a finding.
func (v *Verifier) damaged(tree string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats.Damaged[tree]++
}

// moved counts an object that was moved to the quarantine.
func (v *Verifier) moved(tree string, bytes int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	in := v.stats.Quarantine[tree]
	v.stats.Quarantine[tree] = Amount{in.Objects + 1, in.Bytes + bytes}
}
