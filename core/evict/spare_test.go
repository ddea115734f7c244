package evict_test

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/evict"
)

// Content that no client waits for is kept within MaxSize and MinFree, also before the first pass
// has measured what is held.
func TestWhatIsSpareForAnImport(t *testing.T) {
	for _, row := range []struct {
		name    string
		maxSize int64
		free    int64
		size    int64
		want    bool
	}{
		{"without a limit", 0, 1 << 40, 1 << 30, true},
		{"within the limit", 500 * kib, 1 << 40, 100 * kib, true},
		{"beyond the limit", 500 * kib, 1 << 40, 400 * kib, false},
		{"a limit that is reached", 100 * kib, 1 << 40, 0, false},
		{"a full disk", 0, 10 * kib, 100 * kib, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings := evict.Settings{MinFree: evict.MinFree{Bytes: kib}, Mirrors: map[string]evict.Limits{"docker.io": {MaxSize: row.maxSize}}}
			shelved(t, evict.Settings{}, func(s *shelf) {
				s.image("docker.io/library/a", "a") // 200 KiB
				s.disk.set(row.free)
				synctest.Wait()
				idle := evict.New(evict.Config{Local: s.Store, Pulls: s.pulled, Disk: s.disk, Idle: true, Log: slog.New(slog.DiscardHandler)})
				defer idle.Close()
				idle.SetSettings(settings)
				synctest.Wait()
				if got, err := idle.Spare(t.Context(), "docker.io/library/b", row.size); got != row.want || err != nil {
					t.Errorf("got %v, %v, want %v", got, err, row.want)
				}
				if row.maxSize == 0 || !row.want {
					return
				}
				idle.Kept("docker.io/library/b", row.maxSize)
				if got, err := idle.Spare(t.Context(), "docker.io/library/b", row.size); got || err != nil {
					t.Errorf("after that was kept: %v, %v", got, err)
				}
			})
		})
	}
}

// An idle evictor evicts nothing, whatever is held.
func TestAnIdleEvictor(t *testing.T) {
	shelved(t, evict.Settings{}, func(s *shelf) {
		image := s.image("docker.io/library/a", "a")
		idle := evict.New(evict.Config{Local: s.Store, Pulls: s.pulled, Disk: s.disk, Idle: true})
		defer idle.Close()
		idle.SetSettings(evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {MaxSize: 1, Keep: 1}}, Grace: 1})
		synctest.Wait()
		if _, err := s.Store.Resolve(t.Context(), "docker.io/library/a", core.Reference{Digest: image}); err != nil {
			t.Errorf("it was evicted: %v", err)
		}
	})
}
