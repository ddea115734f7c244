package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"syscall"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/running"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

// carryOut runs a command in the process that has the storage open, through its control socket.
// Without such a process it runs the command here, on trees that it opens.
func carryOut[T any](ctx context.Context, r *registry, path string, here func(*running.Trees) (T, error)) (answer T, err error) {
	err = whileStarting(ctx, func() error {
		if err := control.Ask(ctx, r.local, path, nil, &answer); !errors.Is(err, control.ErrNobodyListens) {
			return err
		}
		return r.withTrees(ctx, func(t *running.Trees) (err error) {
			answer, err = here(t)
			return err
		})
	})
	return answer, err
}

// open opens the storage for this process, unless the process runs as another user than the
// registry: the registry could not read files that the command writes, nor start.
func (r *registry) open(ctx context.Context, log *slog.Logger) (storage.Buckets, error) {
	if err := r.belongsTo(os.Geteuid()); err != nil {
		return nil, err
	}
	return r.storage.Open(ctx, log)
}

// belongsTo returns an error unless the current user owns the files in the storage.
func (r *registry) belongsTo(uid int) error {
	info, err := os.Stat(filepath.Join(r.local, "layout.json"))
	if err != nil {
		return nil // opening it reports what is wrong
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == uid {
		return nil
	}
	name := fmt.Sprintf("#%d", owner.Uid) // as sudo -u takes it
	if known, err := user.LookupId(name[1:]); err == nil {
		name = known.Username
	}
	return fmt.Errorf("storage %s belongs to the user %s and no registry runs: run the command as that user (sudo -u '%[2]s' …), otherwise the registry cannot read the files that it writes", r.local, name)
}

// withTrees opens the storage for this process.
func (r *registry) withTrees(ctx context.Context, use func(*running.Trees) error) (err error) {
	log := slog.New(slog.DiscardHandler)
	opened, err := r.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	t, err := running.OpenTrees(ctx, opened, r.stores, log)
	if err != nil {
		return err
	}
	t.SetLimits(r.limits)
	defer func() { err = errors.Join(err, t.Close()) }()
	return use(t)
}
