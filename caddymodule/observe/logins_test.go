package observe

import (
	"fmt"
	"testing"
	"time"
)

func TestALoginIsNewsOnceADay(t *testing.T) {
	now := time.Now()
	l := NewLogins(func() time.Time { return now })
	one := Login{"erich", "key 1", "192.0.2.1"}
	for _, row := range []struct {
		name string
		Login
		wait time.Duration
		news bool
	}{
		{"the first time", one, 0, true},
		{"at once again", one, 0, false},
		{"from elsewhere", Login{"erich", "key 1", "192.0.2.2"}, 0, true},
		{"by another key", Login{"erich", "key 2", "192.0.2.1"}, 0, true},
		{"by somebody else", Login{"ada", "key 1", "192.0.2.1"}, 0, true},
		{"within the day", one, loginAgain - time.Second, false},
		{"a day after it was told", one, time.Second, true},
	} {
		now = now.Add(row.wait)
		if got := l.News(row.Login); got != row.news {
			t.Errorf("%s: got %v, want %v", row.name, got, row.news)
		}
	}
	for i := range 3 * maxLogins {
		l.News(Login{Address: fmt.Sprint(i)})
	}
	if l.told.Len() > maxLogins {
		t.Errorf("%d are remembered, want %d at most", l.told.Len(), maxLogins)
	}
}

func BenchmarkLoginThatIsNoNews(b *testing.B) {
	l, one := NewLogins(nil), Login{"zot-ci", "key 0123456789ab", "192.0.2.1"}
	l.News(one)
	b.ReportAllocs()
	for b.Loop() {
		l.News(one)
	}
}
