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
		one := make(turns, 1)
		end, err := one.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := one.take(t.Context()); !errors.Is(err, errTurn) || time.Since(begun) != maxWait {
			t.Errorf("got %v after %v", err, time.Since(begun))
		}
		time.AfterFunc(time.Second, end)
		if end, err = one.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		end()
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
