package fusefs_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/fusefs"
)

// unneeded are the syncs that a power cut cannot show to be needed, and why they
// are made.
var unneeded = map[string]string{
	"(*Storage).probe of .":                 "tests whether directories can be synced at all",
	"(*Storage).takeCleanMark of .":         "data that is visible after a cut is durable, so a mark that came back is correct",
	"(*Storage).writeDurably of .":          "openBucket syncs the directory too, and a lost clean mark costs a sweep",
	"(*Storage).writeDurably of clean.new":  "the mark has no bytes",
	"(*source).renew of private/tmp/<file>": "the disk of these tests keeps a file that has a name; ext4 without a journal need not",
	"(*Bucket).syncLoop of private/pending": "the store's links decide; see TestDeletedUploadStaysDeleted",
}

// TestEverySyncIsNeeded shows that TestNothingAcknowledgedIsLost would detect any missing call
// to fsync. It skips each call in turn, distinguished by the calling function and the kind of
// file, and looks for a seed with a loss.
func TestEverySyncIsNeeded(t *testing.T) {
	honest := &saboteur{}
	for seed := range uint64(6) {
		if losses, err := (round{t: t, seed: seed, end: ending(seed % 3), sync: syncs{one: honest.sync}}).play(); err != nil || len(losses) > 0 {
			t.Fatalf("seed %d: %v %v", seed, losses, err)
		}
	}
	for _, site := range slices.Sorted(maps.Keys(honest.calls)) {
		s := &saboteur{skip: site}
		reason, excused := unneeded[site]
		short := time.Minute
		if excused {
			short = time.Second
		}
		seed, loss := s.search(t, budget(t, short))
		switch {
		case loss != "" && excused:
			t.Errorf("%-70s is needed: seed %d: %s", site, seed, loss)
		case excused:
			t.Logf("%-70s %5d calls  not needed: %s", site, honest.calls[site], reason)
		case loss == "":
			t.Errorf("%-70s %5d calls  skipped without a loss", site, honest.calls[site])
		default:
			t.Logf("%-70s %5d calls  seed %d: %s", site, honest.calls[site], seed, loss)
		}
	}
}

// TestTheSyncOfEverythingIsNeeded is the same for the syncs that are made as one.
func TestTheSyncOfEverythingIsNeeded(t *testing.T) {
	lazy := syncs{all: func(*fusefs.FS) error { return nil }}
	end := time.Now().Add(budget(t, time.Minute))
	for seed := uint64(0); seed < maxSeeds && time.Now().Before(end); seed++ {
		losses, err := round{t: t, seed: seed, end: ending(seed % 3), sync: lazy}.play()
		if losses = append(losses, errorText(err)...); len(losses) > 0 {
			t.Logf("seed %d: %s", seed, losses[0])
			return
		}
	}
	t.Error("skipped without a loss")
}

// saboteur syncs for a storage, except at one call site.
type saboteur struct {
	skip string

	mu    sync.Mutex
	calls map[string]int // by call site; guarded by mu
}

func (s *saboteur) sync(f *os.File) error {
	site := callSite(f)
	s.mu.Lock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[site]++
	s.mu.Unlock()
	if site == s.skip {
		return nil
	}
	return f.Sync()
}

// maxSeeds bounds a search. The rarest loss known shows within twenty.
const maxSeeds = 60

// search plays rounds until one has a loss, and returns the first.
func (s *saboteur) search(t *testing.T, patience time.Duration) (seed uint64, loss string) {
	t.Helper()
	for end := time.Now().Add(patience); seed < maxSeeds && time.Now().Before(end); seed++ {
		r := round{t: t, seed: seed, end: ending(seed % 3), sync: syncs{one: s.sync}}
		if strings.Contains(s.skip, "sweep") {
			// It covers data that a killed process left visible but not durable.
			r.end, r.early = killed, true
		}
		losses, err := r.play()
		losses = append(losses, errorText(err)...)
		if len(losses) > 0 {
			return seed, losses[0]
		}
	}
	return seed, ""
}

func errorText(err error) []string {
	if err == nil {
		return nil
	}
	return []string{err.Error()}
}

// Names that differ from run to run, and their replacements in a call site.
var (
	mountPart  = regexp.MustCompile(`^.*/fusefs-[0-9]+-[0-9]+(/data)?/?`)
	hexPart    = regexp.MustCompile(`[0-9a-f]{64}`)
	prefixPart = regexp.MustCompile(`/[0-9a-f]{2}(/|$)`)
	repoPart   = regexp.MustCompile(`(objects/repos)/[a-z][^_]*?(/_|$)`)
	tmpPart    = regexp.MustCompile(`tmp/.+$`)
	uploadPart = regexp.MustCompile(`(uploads|pending)/.+$`) // one call: a recovered upload is published as any other
)

// callSite returns the innermost function of the storage that is not a mere helper, and the
// kind of file or directory that it syncs. A loop that syncs the changes of others counts once
// for each kind.
func callSite(f *os.File) string {
	path := mountPart.ReplaceAllString(f.Name(), "")
	path = hexPart.ReplaceAllString(path, "<digest>")
	path = prefixPart.ReplaceAllString(path, "/<ab>$1")
	path = repoPart.ReplaceAllString(path, "$1/<repo>$2")
	path = tmpPart.ReplaceAllString(path, "tmp/<file>")
	path = uploadPart.ReplaceAllString(path, "uploads|pending/<file>")

	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		_, function, ok := strings.Cut(frame.Function, "core/bucket/dir.")
		if ok && strings.HasSuffix(function, ").sweep") {
			return function + " of every directory" // one call does them all
		}
		helps := strings.Contains(function, ").syncData") || strings.Contains(function, ").syncDir") ||
			strings.HasPrefix(function, "(*syncer).") || strings.HasPrefix(function, "(*turn).")
		if ok && !helps {
			return fmt.Sprintf("%s of %s", function, cmp.Or(path, "."))
		}
		if !more {
			return "of " + cmp.Or(path, ".")
		}
	}
}
