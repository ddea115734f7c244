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

// withTrees opens the storage for this process.
func (r *registry) withTrees(ctx context.Context, use func(*trees) error) (err error) {
	log := slog.New(slog.DiscardHandler)
	opened, err := r.storage.Open(ctx, log)
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
