package redis

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// leaveAlone is how long a Redis that failed is not asked. After that one caller
// tries again, and the others go on without it.
const leaveAlone = 2 * time.Second

// breaker keeps callers from waiting for a Redis that has just failed.
type breaker struct {
	voice *voice

	mu    sync.Mutex // guards what follows
	down  bool
	until time.Time // no question before this time
}

// enter reports whether Redis may be asked now, and whether the question is a probe
// for its return.
func (b *breaker) enter() (ask, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.down {
		return true, false
	}
	now := time.Now()
	if now.Before(b.until) {
		return false, false
	}
	b.until = now.Add(leaveAlone)
	return true, true
}

// leave notes the outcome: err is what kept Redis from answering. An answer that
// arrives after another question failed does not show that Redis is back; only the
// probe does.
func (b *breaker) leave(probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch was := b.down; {
	case err != nil:
		b.down, b.until = true, time.Now().Add(leaveAlone)
		if !was {
			b.voice.failed(err)
		}
	case was && probe:
		b.down = false
		b.voice.back()
	}
}

// voice logs once when the first of several breakers opens, and once when the last
// has closed.
type voice struct {
	log *slog.Logger

	mu   sync.Mutex // guards down
	down int
}

func (v *voice) failed(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down++; v.down == 1 {
		v.log.Warn("Redis does not answer; the registry goes on without it", "error", err)
	}
}

func (v *voice) back() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down--; v.down == 0 {
		v.log.Info("Redis answers again")
	}
}

// The slots of a cluster, and how many of them share a breaker. A node has a range of
// slots: when one node is gone, entries on the others are still found.
const (
	slots      = 1 << 14
	slotsShare = 1 << 10
)

// newBreakers makes the breakers of a Redis: one, or those of a cluster's slots.
func newBreakers(cluster bool, log *slog.Logger) []breaker {
	breakers := make([]breaker, 1)
	if cluster {
		breakers = make([]breaker, slots/slotsShare)
	}
	v := &voice{log: log}
	for i := range breakers {
		breakers[i].voice = v
	}
	return breakers
}

// slotOf returns the slot of a key in a cluster: CRC-16 (XMODEM) of the key, or of
// the part between its first braces.
func slotOf(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
	}
	return int(crc) % slots
}
