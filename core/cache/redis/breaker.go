package redis

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// leaveAlone is how long a Redis that failed is not asked. When it is over, one
// caller finds out, and the others go on without.
const leaveAlone = 2 * time.Second

// breaker keeps callers from waiting for what failed for the one before.
type breaker struct {
	voice *voice

	mu    sync.Mutex // guards what follows
	down  bool
	until time.Time // nobody asks before
}

// enter tells whether Redis may be asked now, and whether that is to find out if it
// is back.
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

// leave tells how it went: err is what kept Redis from answering. Of an answer that
// comes after another question failed nobody can tell whether Redis is back: that is
// the probe's to say.
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

// voice tells the log once when the first of several breakers opens, and once when
// the last has closed.
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
// slots: when one is gone, what lies on the others is still found.
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

// slotOf is the slot of a key in a cluster: CRC-16 (XMODEM) of the key, or of what
// is between its first braces.
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
