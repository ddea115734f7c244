package command

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/eblume/caddy-registry/core/bucket/dir"
)

const (
	// startWait is how long a command waits for a server that has just started: it makes
	// its directory, locks it, and listens for commands, in this order.
	startWait = 5 * time.Second
	// makeWait is the part of that time for which a command waits for the directory. A missing
	// directory usually means a wrong name.
	makeWait = time.Second
	// startStep is the time between two tries.
	startStep = 50 * time.Millisecond
)

// whileStarting calls try again while it fails because a server is starting.
func whileStarting(ctx context.Context, try func() error) error {
	begun := time.Now()
	for {
		err := try()
		waited := time.Since(begun)
		switch {
		case errors.Is(err, dir.ErrInUse) && waited < startWait:
		case errors.Is(err, fs.ErrNotExist) && waited < makeWait:
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startStep):
		}
	}
}
