package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
)

// ErrNobodyListens means that no process has the storage open.
var ErrNobodyListens = errors.New("no process serves this storage")

// Ask has the process that listens in the directory dir carry out the command at path:
// order is sent and answer is read as JSON. Errors: ErrNobodyListens when there is no such
// process; else sentences for a person.
func Ask(ctx context.Context, dir, path string, order, answer any) error {
	return Stream(ctx, dir, path, order, func(body io.Reader) error {
		if err := json.NewDecoder(body).Decode(answer); err != nil {
			return fmt.Errorf("read the running registry's answer: %w", err)
		}
		return nil
	})
}

// Stream is Ask for an answer that is read while the command is carried out. Errors: as
// Ask, and those of read.
func Stream(ctx context.Context, dir, path string, order any, read func(answer io.Reader) error) error {
	body, err := json.Marshal(order)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := Do(dir, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var refusal problem
		if err := json.NewDecoder(response.Body).Decode(&refusal); err != nil {
			return fmt.Errorf("the running registry answered %s", response.Status)
		}
		return errors.New(refusal.Error)
	}
	return read(response.Body)
}

// Do sends a request to the process that listens in the directory dir. Its URL names any host. The
// caller closes the body of the answer. Errors: as Ask.
func Do(dir string, request *http.Request) (*http.Response, error) {
	dialer := new(net.Dialer)
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = withShortPath(filepath.Join(dir, SocketName), func(short string) error {
				conn, err = dialer.DialContext(ctx, "unix", short)
				return err
			})
			return conn, err
		},
	}
	response, err := transport.RoundTrip(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNobodyListens
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running registry: %w", err)
	}
	return response, nil
}
