// Package behind writes in the background what requests have counted in memory: every so
// often, earlier when it is asked to, and for the last time at the end. A request then waits
// for no disk, and a killed process loses what was counted since the last write.
//
//	w := behind.Start(behind.Config{Every: time.Minute, Write: counts.write, Log: log, Failed: "not written"})
//	defer w.Close()
//
// How things are counted is the caller's, who also keeps what could not be written: that
// differs, where the times and the end do not.
package behind

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Config describes what is written, and when.
type Config struct {
	// Every is the time between two writes.
	Every time.Duration
	// Write writes what was counted. What it cannot write it keeps in memory, for the next
	// time. It does not run twice at once.
	Write func(context.Context) error
	// Log receives a warning with the text Failed when Write returns an error in the
	// background. Default: discard.
	Log    *slog.Logger
	Failed string
}

// Writer writes in the background. It is safe for concurrent use.
type Writer struct {
	config     Config
	writing    sync.Mutex // held by flush
	wake       chan struct{}
	stop       context.CancelFunc
	background sync.WaitGroup
}

// Start begins to write in the background, for the first time after Config.Every. Close ends
// it.
func Start(c Config) *Writer {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &Writer{config: c, wake: make(chan struct{}, 1), stop: stop}
	w.background.Go(func() { w.run(ctx) })
	return w
}

func (w *Writer) run(ctx context.Context) {
	ticker := time.NewTicker(w.config.Every)
	defer ticker.Stop()
	wake := w.wake
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			select {
			case <-w.wake: // this write is what was asked for until now
			default:
			}
		case <-wake:
		}
		wake = w.wake
		if err := w.flush(ctx); err != nil && ctx.Err() == nil {
			// Requests go on asking for a write as long as nothing is written. Each of them
			// would cause one more that fails.
			wake = nil
			w.config.Log.Warn(w.config.Failed, "error", err)
		}
	}
}

// Poke has the next write begin at once, unless the last one in the background has failed: then
// it waits for its time. It does not block.
func (w *Writer) Poke() {
	select {
	case w.wake <- struct{}{}:
	default: // a write will begin
	}
}

// flush writes now. Errors are those of Config.Write.
func (w *Writer) flush(ctx context.Context) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	return w.config.Write(ctx)
}

// Close ends the writes in the background, and writes for the last time. Nothing may be
// counted after it. Errors are those of Config.Write, and then something is lost.
func (w *Writer) Close() error {
	w.stop()
	w.background.Wait()
	return w.flush(context.Background())
}
