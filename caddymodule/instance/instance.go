// Package instance finds out whether one process alone answers on an address.
//
// Caddy listens with SO_REUSEPORT, so a second process of the same user can listen on the
// same address, and the kernel gives each connection to either of them. Each process
// therefore has a random ID. A request for /v2/ that has an ID in the field
// Registry-Instance is answered whether it is the ID of the process that got it. The ID
// itself is in no answer.
package instance

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	field = "Registry-Instance"
	same  = "same"
	other = "other"

	// times is how often an address is asked. If two processes listen, the kernel chooses
	// between them by chance, so that one in 65,536 looks misses the other.
	times = 16
	// patience bounds one question to an address of this machine.
	patience = 2 * time.Second
)

// ID is that of this process.
var ID = rand.Text()

// Answer answers a request that has an ID. It changes nothing about others.
func Answer(w http.ResponseWriter, r *http.Request) {
	switch asked := r.Header.Get(field); asked {
	case "":
	case ID:
		w.Header().Set(field, same)
	default:
		w.Header().Set(field, other)
	}
}

// Seen counts who answered.
type Seen struct {
	// Same is the process of the ID, and Other another registry.
	Same, Other int
	// Unknown is what answered without the field: another program, or a proxy.
	Unknown int
	// Nobody reports that nothing listens.
	Nobody bool
}

// Look asks who answers at an address for a site, until another registry has answered or
// it is clear that nobody else does. dial is the address, as 127.0.0.1:5050, and base the
// root of the site as clients call it.
func Look(ctx context.Context, dial string, base *url.URL, id string) Seen {
	return look(ctx, dial, base, id, times)
}

// LookOnce asks once: enough where this process does not listen.
func LookOnce(ctx context.Context, dial string, base *url.URL, id string) Seen {
	return look(ctx, dial, base, id, 1)
}

func look(ctx context.Context, dial string, base *url.URL, id string, times int) (seen Seen) {
	dialer := &net.Dialer{Timeout: patience}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, // each question may meet another process
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", dial)
		},
		// It is asked which process of this machine answers, and nothing is sent that is secret.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: base.Hostname()},
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for range times {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("/v2/").String(), nil)
		if err != nil {
			return seen
		}
		request.Header.Set(field, id)
		response, err := client.Do(request)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			seen.Nobody = seen.Same+seen.Other+seen.Unknown == 0
			return seen
		case err != nil:
			seen.Unknown++
			if ctx.Err() != nil {
				return seen
			}
			continue
		}
		response.Body.Close()
		switch answer := response.Header.Get(field); {
		case answer == same:
			seen.Same++
		case answer == other && response.Header.Get("Via") == "": // or a proxy has asked it
			seen.Other++
			return seen
		default:
			seen.Unknown++
		}
	}
	return seen
}
