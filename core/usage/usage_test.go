package usage_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core/bucket/dir"
	"github.com/eblume/caddy-registry/core/usage"
)

func TestUsesAreRememberedForThirtyDays(t *testing.T) {
	storage, err := dir.Open(t.TempDir(), dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	b, err := storage.Bucket("mirrors")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		u := usage.New(b, nil)
		of := func(u *usage.Counter) string {
			t.Helper()
			uses, err := u.Of(t.Context(), "docker.io")
			if err != nil {
				t.Fatal(err)
			}
			s := ""
			for _, one := range uses {
				s += fmt.Sprintf("%s %s %d, ", one.Client, one.Form, one.Requests)
			}
			return s
		}
		u.Count("docker.io", "ns", "10.0.0.1")
		u.Count("docker.io", "ns", "10.0.0.1")
		u.Count("quay.io", "ns", "10.0.0.3")
		time.Sleep(time.Minute)
		synctest.Wait()
		u.Count("docker.io", "prefix", "10.0.0.2")
		u.Count("docker.io", "ns", "10.0.0.1")
		const both = "10.0.0.1 ns 3, 10.0.0.2 prefix 1, "
		if got := of(u); got != both {
			t.Errorf("got %s", got)
		}
		// A killed process has written what is a minute old.
		time.Sleep(time.Minute)
		synctest.Wait()
		killed := usage.New(b, nil)
		if got := of(killed); got != both {
			t.Errorf("after a kill: %s", got)
		}
		if err := killed.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(20 * 24 * time.Hour)
		u.Count("docker.io", "ns", "10.0.0.1")
		time.Sleep(20 * 24 * time.Hour)
		if got := of(u); got != "10.0.0.1 ns 4, " {
			t.Errorf("after forty days: %s", got)
		}
		// Somebody with many addresses does not fill the disk.
		for round := range 3 {
			for i := range 1000 {
				u.Count("docker.io", "ns", fmt.Sprintf("fd00::%d:%x", round, i))
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
		if uses, err := u.Of(t.Context(), "docker.io"); err != nil || len(uses) != 1024 {
			t.Errorf("%d are remembered, %v", len(uses), err)
		}
	})
}
