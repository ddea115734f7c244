package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

// Files, hosts and addresses that an error names are only for the log, whatever the
// error means to the client.
func TestErrorsOfTheSystemAreNotShown(t *testing.T) {
	const secret = "/srv/secret"
	for name, err := range map[string]error{
		"a file":         &fs.PathError{Op: "open", Path: secret, Err: fs.ErrNotExist},
		"a link":         &os.LinkError{Op: "link", Old: secret, New: secret, Err: fs.ErrExist},
		"a call":         os.NewSyscallError(secret, syscall.EIO),
		"an errno":       fmt.Errorf("%s: %w", secret, syscall.EIO),
		"a connection":   &net.OpError{Op: "read", Net: secret, Err: errors.New("reset")},
		"a name":         &net.DNSError{Err: "no such host", Name: secret},
		"a request":      &url.Error{Op: "Get", URL: secret, Err: errors.New("refused")},
		"several of one": errors.Join(errors.New("first"), &fs.PathError{Op: "open", Path: secret, Err: fs.ErrNotExist}),
	} {
		for _, condition := range []*core.Error{core.ErrManifestInvalid, core.ErrUnauthorized, core.ErrNameUnknown, core.ErrTooManyRequests} {
			body := errorBody(condition, http.StatusBadRequest, fmt.Errorf("%w: %w", condition, err))
			if bytes.Contains(body, []byte(secret)) || !bytes.Contains(body, []byte(condition.Message)) {
				t.Errorf("%s: got %s, want the condition alone", name, body)
			}
		}
	}
	// A sentence for clients stands, and so does an error of ours.
	shown := core.WithPublic(fmt.Errorf("%w: %s", core.ErrDenied, secret), "asked elsewhere")
	if body := errorBody(core.ErrDenied, http.StatusForbidden, shown); !bytes.Contains(body, []byte("asked elsewhere")) || bytes.Contains(body, []byte(secret)) {
		t.Errorf("got %s", body)
	}
}
