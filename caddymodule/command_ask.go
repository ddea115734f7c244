package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"syscall"
)

// errNobodyListens is the answer of a socket that no process serves.
var errNobodyListens = errors.New("no process serves this storage")

// ask has the running process carry out a command of the control socket: order is
// sent and answer is read as JSON. Errors: errNobodyListens when there is no such
// process; else sentences.
func (r *registry) ask(ctx context.Context, path string, order, answer any) error {
	body, err := json.Marshal(order)
	if err != nil {
		return err
	}
	dialer := new(net.Dialer)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = withShortPath(filepath.Join(r.local, controlName), func(short string) error {
				conn, err = dialer.DialContext(ctx, "unix", short)
				return err
			})
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return errNobodyListens
	}
	if err != nil {
		return fmt.Errorf("ask the running registry: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var refusal controlError
		if err := json.NewDecoder(response.Body).Decode(&refusal); err != nil {
			return fmt.Errorf("the running registry answered %s", response.Status)
		}
		return errors.New(refusal.Error)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the running registry's answer: %w", err)
	}
	return nil
}

// carryOut has a command of the control socket carried out by the process that has the
// storage open; without one, here, on trees that are opened for it.
func carryOut[T any](ctx context.Context, r *registry, path string, here func(*trees) (T, error)) (answer T, err error) {
	err = whileStarting(ctx, func() error {
		if err := r.ask(ctx, path, nil, &answer); !errors.Is(err, errNobodyListens) {
			return err
		}
		return r.withTrees(ctx, func(t *trees) (err error) {
			answer, err = here(t)
			return err
		})
	})
	return answer, err
}

// open opens the storage for this process, unless that is another user's than the
// registry's: what a command writes, the registry could then not read, nor start.
func (r *registry) open(ctx context.Context, log *slog.Logger) (OpenStorage, error) {
	if err := r.belongsTo(os.Geteuid()); err != nil {
		return nil, err
	}
	return r.storage.Open(ctx, log)
}

// belongsTo refuses a user who is not the one whose files are in the storage.
func (r *registry) belongsTo(uid int) error {
	info, err := os.Stat(filepath.Join(r.local, "layout.json"))
	if err != nil {
		return nil // opening it says what is wrong
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == uid {
		return nil
	}
	name := fmt.Sprintf("#%d", owner.Uid) // as sudo -u takes it
	if known, err := user.LookupId(name[1:]); err == nil {
		name = known.Username
	}
	return fmt.Errorf("storage %s belongs to the user %s and no registry runs: run the command as that user (sudo -u '%[2]s' …), or the registry cannot read what it writes", r.local, name)
}

// withTrees opens the storage for this process.
func (r *registry) withTrees(ctx context.Context, use func(*trees) error) (err error) {
	log := slog.New(slog.DiscardHandler)
	opened, err := r.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	t, err := openTrees(ctx, opened, r.options, log)
	if err != nil {
		return err
	}
	t.pushes.SetLimits(r.limits)
	defer func() { err = errors.Join(err, t.close()) }()
	return use(t)
}
