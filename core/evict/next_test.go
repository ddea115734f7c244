package evict_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core/evict"
)

// The images that are next go next, at the time that was announced.
func TestNextIsWhatGoesNext(t *testing.T) {
	settings := evict.Settings{Mirrors: map[string]evict.Limits{"docker.io": {Keep: 90 * day, MaxSize: 10_000 * kib}, "quay.io": {Keep: 10 * day}}}
	shelved(t, settings, func(s *shelf) {
		old := s.image(nginx, "old")
		s.image(httpd, "new")
		s.image(etcd, "etcd")
		s.pull(nginx, old)
		s.wait(2 * time.Hour) // the search of every hour
		next := func(mirror string) (all []string) {
			t.Helper()
			due, sought := s.Next(mirror)
			if since := time.Since(sought); since > 2*time.Hour {
				t.Errorf("the search is of %v ago", since)
			}
			for _, one := range due {
				s.mu.Lock()
				name := s.names[one.Manifest]
				s.mu.Unlock()
				all = append(all, fmt.Sprint(one.Repo, ":", name, " ", one.End.Sub(one.Pulled)))
			}
			return all
		}
		want := func(mirror string, want ...string) {
			t.Helper()
			if got := next(mirror); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("next of %s are %q, want %q", mirror, got, want)
			}
		}
		want("docker.io", fmt.Sprint(httpd, ":new ", 90*day), fmt.Sprint(nginx, ":old ", 90*day))
		want("quay.io", fmt.Sprint(etcd, ":etcd ", 10*day))
		want("ghcr.io")
		s.wait(11 * day)
		s.went("etcd")
		want("quay.io")
		if got := s.MaxSize("docker.io"); got != 10_000*kib {
			t.Errorf("max_size is %d", got)
		}
		for i := range 15 {
			s.image(etcd, fmt.Sprint("v", i))
		}
		s.wait(2 * time.Hour)
		if got := next("quay.io"); len(got) != 10 {
			t.Errorf("%d are next", len(got))
		}
	})
}
