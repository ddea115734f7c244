package pages

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core"
)

func TestAPageWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newTurns(1)
		end, err := one.take(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := one.take(t.Context(), "ada"); !errors.Is(err, errTurn) || time.Since(begun) != maxWait {
			t.Errorf("got %v after %v", err, time.Since(begun))
		}
		time.AfterFunc(time.Second, end)
		if end, err = one.take(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		end()
		if len(one.of) > 0 {
			t.Errorf("%d visitors are remembered", len(one.of))
		}
	})
}

// One visitor who asks again and again keeps no other one waiting.
func TestAVisitorHasHalfOfTheTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		four := newTurns(4)
		var ends []func()
		for n := range 3 {
			end, err := four.take(t.Context(), "a flood")
			if last := n == 2; last != errors.Is(err, errTurn) || !last && err != nil {
				t.Fatalf("turn %d: got %v", n, err)
			} else if !last {
				ends = append(ends, end)
			}
		}
		for range 20 {
			go func() {
				if end, err := four.take(t.Context(), "a flood"); err == nil {
					end()
				}
			}()
		}
		synctest.Wait()
		begun := time.Now()
		for _, visitor := range []string{"ada", "bob"} {
			end, err := four.take(t.Context(), visitor)
			if err != nil || time.Since(begun) > 0 {
				t.Fatalf("%s: got %v after %v", visitor, err, time.Since(begun))
			}
			ends = append(ends, end)
		}
		for _, end := range ends {
			end()
		}
		synctest.Wait()
		if len(four.of) > 0 || len(four.all) > 0 {
			t.Errorf("%d visitors are remembered, %d turns are taken", len(four.of), len(four.all))
		}
	})
}

// unread is a registry of which nothing is read.
type unread struct{ core.Unimplemented }

// A flood of pages does not flood the log.
func TestTheLogDoesNotHaveMissedTurns(t *testing.T) {
	var log bytes.Buffer
	s := &Site{Registry: unread{}, Log: slog.New(slog.NewTextHandler(&log, nil))}
	answer := httptest.NewRecorder()
	s.broken(answer, httptest.NewRequest(http.MethodGet, "/images/team/app:v1", nil), reference{}, errTurn)
	if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" || log.Len() > 0 {
		t.Errorf("got %d, Retry-After %q, and the log has %s", answer.Code, answer.Header().Get("Retry-After"), &log)
	}
}
