package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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
