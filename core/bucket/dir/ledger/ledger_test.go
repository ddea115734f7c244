package ledger

import (
	"errors"
	"slices"
	"testing"
)

func TestTheLedgerInOrder(t *testing.T) {
	const path = "objects/d/k"
	l := New(false)
	if waits := l.Need(nil, path); len(waits) != 0 {
		t.Fatalf("nothing was written and %v is to be synced", waits)
	}
	l.Begin(path)
	before := l.Need(nil, path) // a reader may see it already
	if len(before) != 1 || before[0].Dir != "objects/d" {
		t.Fatalf("got %v for a write that is under way, want its directory", before)
	}
	run, start := l.Join(before[0])
	if !start || l.Next("objects/d") != run {
		t.Fatal("the first that waits does not start the loop")
	}
	l.End(path, Created)
	after := l.Need(nil, path)
	if again, start := l.Join(after[0]); again == run || start {
		t.Error("a sync is taken to cover a change that came after it began")
	}
	if same, _ := l.Join(before[0]); same != run {
		t.Error("an older change waits for another sync")
	}
	l.Succeed("objects/d", run)
	if len(l.Need(nil, path)) != 1 {
		t.Error("the ledger forgot a change that the sync did not cover")
	}
	second := l.Next("objects/d")
	l.Succeed("objects/d", second)
	if l.Next("objects/d") != nil || l.Size() != 0 || len(l.Need(nil, path)) != 0 {
		t.Errorf("the ledger still holds %v", l.dirs)
	}
}

// run simulates one sync of a directory for the ledger.
func run(t *testing.T, l *Ledger, w Wait) *Run {
	t.Helper()
	run, start := l.Join(w)
	if !start || l.Next(w.Dir) != run {
		t.Fatalf("no sync of %s begins", w.Dir)
	}
	return run
}

// A failed sync leaves in doubt what was created since the last good one. Entries that were
// durable before it stay.
func TestAFailedSyncLosesWhatWasCreated(t *testing.T) {
	l := New(false)
	for path, kind := range map[string]Kind{
		"d/new": Created, "d/over": Replaced, "d/gone": Removed, "d/below": MadeDir, "d/nothing": Unchanged,
	} {
		l.Begin(path)
		l.End(path, kind)
	}
	r := run(t, l, l.Need(nil, "d/new")[0])
	l.Begin("d/later")
	l.End("d/later", Created)
	r.Err = errors.New("input/output error")
	files, dirs := l.Fail("d", r)
	if !slices.Equal(files, []string{"d/new"}) || !slices.Equal(dirs, []string{"d/below"}) {
		t.Errorf("the failed sync lost files %q and directories %q, want d/new and d/below", files, dirs)
	}
	if l.LostBy("d/new") != r.Err || l.LostBy("d/over") != nil {
		t.Errorf("got %v for a new file and %v for a replaced one", l.LostBy("d/new"), l.LostBy("d/over"))
	}
	if len(l.Need(nil, "d/over")) != 1 || len(l.Need(nil, "d/nothing")) != 0 {
		t.Error("a replaced file is to be synced again, and nothing else that was durable")
	}
	l.Begin("d/new")
	l.End("d/new", Created)
	if err := l.LostBy("d/new"); err != nil {
		t.Errorf("a file that was written again is lost: %v", err)
	}
}

// A file over one that is not durable is as new as that one.
func TestAReplacedFileThatWasNeverDurableIsCreated(t *testing.T) {
	l := New(false)
	for _, kind := range []Kind{Created, Replaced} {
		l.Begin("d/k")
		l.End("d/k", kind)
	}
	if kind, changed := l.Changed("d/k"); kind != Created || !changed {
		t.Errorf("got kind %v, changed %v", kind, changed)
	}
}

func TestAfterAnUncleanStopEachDirectoryIsSyncedOnce(t *testing.T) {
	l := New(true)
	waits := l.Need(nil, "a/b/k")
	if len(waits) != 2 || waits[0].Dir != "a" || waits[1].Dir != "a/b" {
		t.Fatalf("got %v, want both directories", waits)
	}
	if _, changed := l.Changed("a/b/k"); !changed || !l.InDoubt() {
		t.Error("an entry is taken for durable after an unclean stop")
	}
	for _, w := range waits {
		l.Succeed(w.Dir, run(t, l, w))
		if l.Next(w.Dir) != nil {
			t.Errorf("%s is to be synced twice", w.Dir)
		}
	}
	if again := l.Need(nil, "a/b/other"); len(again) != 0 {
		t.Errorf("%v is to be synced again", again)
	}
	if len(l.Need(nil, "a/c/k")) != 1 {
		t.Error("a directory that was not synced is taken for durable")
	}
	l.Succeed("a/c", run(t, l, l.Need(nil, "a/c/k")[0]))
	l.Next("a/c")
	l.Settle()
	if len(l.Need(nil, "z/k")) != 0 || l.InDoubt() || l.Size() != 0 {
		t.Errorf("something is left to sync: %v", l.Dirty())
	}
}
