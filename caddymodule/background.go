package caddymodule

import (
	"context"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/observe"
)

// collect, announceKeys and tellStrangers run beside a configuration, until its context ends.

// collect runs the collector by its schedule until ctx ends.
func (a *App) collect(ctx context.Context) {
	for {
		timer := time.NewTimer(a.shared.due(a.collection))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if a.shared.due(a.collection) > 0 {
			continue // another configuration's collector, or a command, was first
		}
		if _, err := a.shared.collect(ctx, false); err != nil && ctx.Err() == nil {
			a.log.Error("collection ended early", "error", err)
		}
	}
}

// announceLook is how often keys are looked at that may end soon.
const announceLook = time.Hour

// announceKeys tells, once a day, of each key that ends soon, until ctx ends.
func (a *App) announceKeys(ctx context.Context) {
	tick := time.NewTicker(announceLook)
	defer tick.Stop()
	for {
		keys, err := a.shared.keysToAnnounce(ctx)
		if err != nil && ctx.Err() == nil {
			a.shared.log.Warn("that keys were announced was not noted; they are announced again after a restart", "error", err)
		}
		if err == nil {
			observe.Succeeded(observe.TaskAnnounce)
		}
		for _, key := range keys {
			a.audit.Key(observe.EventKeyExpiring, key, key.By)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tellStrangers tells what was not recorded, until ctx ends.
func (a *App) tellStrangers(ctx context.Context) {
	tick := time.NewTicker(observe.StrangerWindow / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.audit.TellUnrecorded(observe.EventDenied, a.strangers)
			a.audit.TellUnrecorded(observe.EventLoginRefused, a.refused)
		}
	}
}
