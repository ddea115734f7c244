package upstream

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxRetryAfter bounds how long an upstream can make us wait: Docker Hub counts in
// windows of six hours.
const maxRetryAfter = 6 * time.Hour

// maxWindow bounds the window that an upstream may claim to count pulls in, because tags
// are trusted for that long when the limit is used up. The known ones are of minutes to
// six hours; a day leaves room for one that counts by days.
const maxWindow = 24 * time.Hour

// Limit is an upstream's pull limit as it announced it (Docker Hub's headers).
type Limit struct {
	// Limit and Remaining are in pulls per Window, which is at most a day.
	Limit, Remaining int
	Window           time.Duration
	// Source is the owner of the limit: an address or an account.
	Source string
	// At is when it was announced; zero: never.
	At time.Time
}

// limits remembers the last Limit with and without credentials.
type limits struct {
	mu               sync.Mutex // guards the two
	login, anonymous Limit
}

func (l *limits) of(anonymous bool) *Limit {
	if anonymous {
		return &l.anonymous
	}
	return &l.login
}

func (l *limits) get(anonymous bool) Limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.of(anonymous)
}

// note keeps the limit of an answer, if it has one.
func (l *limits) note(anonymous bool, h http.Header) {
	remaining, window, ok := parseLimit(h.Get("RateLimit-Remaining"))
	if !ok {
		return
	}
	most, w, ok := parseLimit(h.Get("RateLimit-Limit"))
	if ok {
		window = w
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.of(anonymous) = Limit{Limit: most, Remaining: remaining, Window: window, Source: printable(h.Get("Docker-RateLimit-Source")), At: time.Now()}
}

// parseLimit reads "100;w=21600": a count and the window in seconds. A longer window than
// maxWindow is that.
func parseLimit(s string) (count int, window time.Duration, ok bool) {
	s, _, _ = strings.Cut(s, ",") // of several policies the first
	first, params, _ := strings.Cut(s, ";")
	count, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || count < 0 {
		return 0, 0, false
	}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		seconds, err := strconv.ParseInt(value, 10, 32)
		if name == "w" && err == nil && seconds > 0 {
			window = min(time.Duration(seconds)*time.Second, maxWindow)
		}
	}
	return count, window, true
}

// retryAfter reads a Retry-After header: seconds, a date, or, as Docker Hub's
// abuse limit sends it, seconds since 1970. Without a usable one it is wait from now.
func retryAfter(s string, now time.Time, wait time.Duration) time.Time {
	const unix = 1_000_000_000
	var until time.Time
	if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
		switch {
		case n < 0:
			until = now.Add(wait)
		case n >= unix:
			until = time.Unix(min(n, now.Unix()+int64(maxRetryAfter/time.Second)), 0)
		default:
			until = now.Add(time.Duration(min(n, int64(maxRetryAfter/time.Second))) * time.Second)
		}
	} else if until, err = http.ParseTime(s); err != nil {
		until = now.Add(wait)
	}
	if most := now.Add(maxRetryAfter); until.After(most) {
		return most
	}
	if least := now.Add(time.Second); until.Before(least) {
		return least
	}
	return until
}

// pullLimit distinguishes Docker Hub's pull limit from its bare "Too Many Requests".
func pullLimit(h http.Header, body []byte) bool {
	remaining, _, ok := parseLimit(h.Get("RateLimit-Remaining"))
	return ok && remaining == 0 || bytes.Contains(bytes.ToLower(body), []byte("pull rate limit"))
}

// printable bounds and cleans an upstream's text for a log.
func printable(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}
