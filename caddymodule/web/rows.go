package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/design"
	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// maxRows bounds the rows of a list.
const maxRows = 50

// keyRow is a key in a list.
type keyRow struct {
	identity.Key
	State  string
	Groups []string // that it acts with now
	Full   bool     // it is not narrowed
	Scope  string
	Left   string // of its time, in words
	Share  string // of the longest time that a key can have: what is left, in percent
}

// Ended reports whether it is valid no more.
func (k keyRow) Ended() bool { return k.State == "expired" || k.State == "revoked" }

// row describes a key.
func (s *Site) row(key identity.Key, now time.Time) keyRow {
	r := keyRow{Key: key, State: stateOf(key), Groups: s.groupsOf(key)}
	r.Scope, r.Full = scopeOf(key)
	left := key.Expires.Sub(now)
	switch {
	case r.State == "revoked":
		r.Left, left = "revoked on "+key.Revoked.UTC().Format(time.DateOnly), 0
	case left <= 0:
		r.Left, left = "expired", 0
	case left < 48*time.Hour:
		r.Left = design.Plural(int64((left+time.Hour-1)/time.Hour), "hour", "hours") + " left"
	default:
		r.Left = design.Plural(int64((left+12*time.Hour)/(24*time.Hour)), "day", "days") + " left"
	}
	// Bars of keys are compared, so they have one measure.
	whole := max(s.Identity.Keys().MaxLifetime(), key.Expires.Sub(key.Created), time.Second)
	r.Share = fmt.Sprintf("%.1f", 100*left.Seconds()/whole.Seconds())
	return r
}

// scopeOf returns what a key is narrowed to, in words, and whether it is not narrowed.
func scopeOf(key identity.Key) (scope string, full bool) {
	what, where := strings.Join(key.Actions, ", "), strings.Join(key.Globs, " ")
	switch {
	case what == "" && where == "":
		return "everything that " + key.User + " may", true
	case where == "":
		return "only " + what, false
	case what == "":
		return "only on " + where, false
	}
	return "only " + what + " on " + where, false
}

// groupsOf returns the groups that a key acts with now.
func (s *Site) groupsOf(key identity.Key) []string {
	switch {
	case key.Service:
		return key.Groups
	case key.Local:
		return s.Locals.Groups(key.User)
	}
	user, _ := s.Identity.Users().Get(key.User)
	return user.Groups
}

// part is a page of a list.
type part struct {
	From, To, Total int // 1-based
	First, Next     string
}

// cut returns the page of a list that begins behind the item with the name after, or its beginning,
// and where it stands. path and query are the list's address.
func cut[T any](all []T, after string, name func(T) string, path string, query url.Values) ([]T, part) {
	begin := 0
	if after != "" {
		begin = 1 + slices.IndexFunc(all, func(one T) bool { return name(one) == after })
	}
	end := min(len(all), begin+maxRows)
	p := part{From: begin + 1, To: end, Total: len(all)}
	address := func(after string) string {
		q := url.Values{}
		for key, values := range query {
			q[key] = values
		}
		if after != "" {
			q.Set("after", after)
		}
		if len(q) == 0 {
			return path
		}
		return path + "?" + q.Encode()
	}
	if begin > 0 {
		p.First = address("")
	}
	if end < len(all) {
		p.Next = address(name(all[end-1]))
	}
	return all[begin:end], p
}

// keyRows returns a page of keys: the valid ones first, and of these the newest.
func (s *Site) keyRows(keys []identity.Key, after, path string, query url.Values) ([]keyRow, part) {
	now := time.Now()
	slices.SortStableFunc(keys, func(a, b identity.Key) int {
		return cmp.Compare(ended(a, now), ended(b, now))
	})
	keys, p := cut(keys, after, func(key identity.Key) string { return key.ID }, path, query)
	var rows []keyRow
	for _, key := range keys {
		rows = append(rows, s.row(key, now))
	}
	return rows, p
}

// ended is 0 for a valid key, and else 1.
func ended(key identity.Key, now time.Time) int {
	if key.Active(now) {
		return 0
	}
	return 1
}
