package blockcut_test

import (
	"os"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/integration/blockcut"
)

// TestSyncsAreNeeded shows that TestNothingAcknowledgedIsLost would notice if syncs
// were taken out. Which of them, one by one, is for package fusefs: on a file system
// with a journal a sync of one file makes much else durable.
func TestSyncsAreNeeded(t *testing.T) {
	tests := []struct {
		name    string
		options dir.Options
	}{
		{"any", dir.Options{Sync: func(*os.File) error { return nil }}},
		{"of files", dir.Options{Sync: unless(func(fi os.FileInfo) bool { return fi.Mode().IsRegular() })}},
		{"of directories", dir.Options{Sync: unless(os.FileInfo.IsDir)}},
	}
	for _, k := range []blockcut.Kind{blockcut.Ext4, blockcut.XFS} {
		t.Run(k.Name, func(t *testing.T) {
			before := used(t, k, format(t, k))
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					seed, loss := search(round{t: t, kind: k, before: before, options: tt.options}, budget(t, time.Minute))
					if loss == "" {
						t.Fatalf("skipped in %d runs without a loss", seed)
					}
					t.Logf("seed %d: %s", seed, loss)
				})
			}
		})
	}
}

// unless syncs all but what is to be skipped.
func unless(skip func(os.FileInfo) bool) func(*os.File) error {
	return func(f *os.File) error {
		fi, err := f.Stat()
		if err != nil || skip(fi) {
			return err
		}
		return f.Sync()
	}
}

// search plays rounds until one has a loss, and returns the first.
func search(r round, patience time.Duration) (seed uint64, loss string) {
	r.t.Helper()
	var sum tally
	for end := time.Now().Add(patience); time.Now().Before(end) || r.seed == 0; r.seed++ {
		losses, err := r.play(&sum)
		if err != nil {
			r.t.Fatalf("seed %d: %v", r.seed, err)
		}
		if len(losses) > 0 {
			return r.seed, losses[0]
		}
	}
	return r.seed, ""
}
