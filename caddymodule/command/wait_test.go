package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eblume/caddy-registry/core/bucket/dir"
)

func TestCommandsWaitForAServerThatStarts(t *testing.T) {
	for _, row := range []struct {
		name  string
		err   error
		lasts time.Duration
		waits time.Duration // at most
	}{
		{"none", nil, 0, 0},
		{"a server that locks before it listens", fmt.Errorf("storage: %w", dir.ErrInUse), time.Second, time.Second + startStep},
		{"another process that stays", dir.ErrInUse, time.Hour, startWait + startStep},
		{"a directory that is being made", os.ErrNotExist, time.Second / 2, time.Second/2 + startStep},
		{"a directory that is not there", os.ErrNotExist, time.Hour, makeWait + startStep},
		{"something else", os.ErrPermission, time.Hour, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			err := whileStarting(t.Context(), func() error {
				if time.Since(begun) < row.lasts {
					return row.err
				}
				return nil
			})
			if took := time.Since(begun); took > row.waits || (err != nil) != (row.lasts > took) {
				t.Errorf("%s: got %v after %v, want at most %v", row.name, err, took, row.waits)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := whileStarting(ctx, func() error { return dir.ErrInUse }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
