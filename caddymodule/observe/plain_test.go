package observe

import (
	"fmt"
	"testing"
	"time"
)

func TestAFloodOfPlainSendersIsWarnedOfSoManyTimes(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	p := NewPlainSenders(func() time.Time { return now })
	count := func() (n int) {
		for i := range 3 * maxPlain {
			if p.News(fmt.Sprintf("10.%d.%d.1", i/256, i%256)) {
				n++
			}
		}
		return n
	}
	if !p.News("2001:db8::1") || p.News("2001:db8::2") || !p.News("2001:db8:1::1") {
		t.Error("an IPv6 address does not count by its /64")
	}
	if n := count(); n != maxPlain-2 {
		t.Errorf("got %d warnings of a flood, want %d", n, maxPlain-2)
	}
	if n := count(); n != 0 {
		t.Errorf("got %d warnings more within a day", n)
	}
	now = now.Add(plainAgain)
	if n := count(); n != maxPlain {
		t.Errorf("got %d warnings on the next day, want %d", n, maxPlain)
	}
}
