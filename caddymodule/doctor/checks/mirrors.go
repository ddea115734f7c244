package checks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/upstream"
)

const (
	// expiresSoon is when an upstream's certificate is worth a word.
	expiresSoon = 7 * 24 * time.Hour
	// shownClients bounds whom a finding names.
	shownClients = 5
)

// Mirror is a configured mirror. Client makes what asks its upstream.
type Mirror struct {
	Name   string
	Client func() (*upstream.Client, error)
}

// describeUse reports who asked a mirror.
func describeUse(c *control.Condition, name string) (string, error) {
	uses := c.Usage[name]
	if len(uses) == 0 {
		return "", doctor.Warnf("no client has asked this mirror in the last 30 days; `registry doctor --clients %s` prints the lines that make clients use it", name)
	}
	requests, forms := uint64(0), []string{}
	var clients []string
	for _, use := range uses {
		requests += use.Requests
		if !slices.Contains(forms, use.Form) {
			forms = append(forms, use.Form)
		}
		if !slices.Contains(clients, use.Client) {
			clients = append(clients, use.Client)
		}
	}
	slices.Sort(forms)
	shown := strings.Join(clients[:min(len(clients), shownClients)], ", ")
	if more := len(clients) - shownClients; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	text := fmt.Sprintf("%d requests in the last 30 days, by %s, from %s, the last at %s",
		requests, strings.Join(forms, ", "), shown, uses[0].Last.Format(time.RFC3339))
	if held, ok := c.Held[name]; ok {
		text += "; " + humanize.IBytes(uint64(max(held, 0))) + " held"
	}
	return text, nil
}

// describeGone reports tags that are served although the upstream has deleted them. That is
// what `gone serve` is for, and worth a look.
func describeGone(gone control.GoneTags) (string, error) {
	if gone.Tags == 0 {
		return "no tag is served that the upstream has deleted", nil
	}
	least := ""
	if gone.More {
		least = "at least "
	}
	return "", doctor.Warnf("%s%d tags that the upstream has deleted are served on (`gone serve`), until `registry purge` removes them", least, gone.Tags)
}

// look reaches the upstream, and compares what it sees with what the running process has
// learned.
func (m Mirror) look(ctx context.Context, sample string, learned []upstream.Learned) (string, error) {
	client, err := m.Client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	tag := "latest"
	if m.Name == namespace.DockerHub {
		sample = "ratelimitpreview/test" // Docker's own, made for this question
	}
	var said []string
	var failed, warned []error
	for _, found := range client.Probe(ctx, sample, tag) {
		text, err := describe(found, client.Credentialed())
		if warning := doctor.Warning(""); errors.As(err, &warning) {
			warned = append(warned, err)
		} else if err != nil {
			failed = append(failed, err)
			continue
		}
		said = append(said, text)
		warned = append(warned, compare(found, learned, client.Credentialed())...)
	}
	if len(failed) > 0 {
		return "", errors.Join(failed...)
	}
	if len(warned) > 0 {
		return "", doctor.Warning(errors.Join(warned...).Error())
	}
	return strings.Join(said, "; "), nil
}

// compare reports where the upstream differs from what the running process has learned of
// the same URL.
func compare(f upstream.Found, learned []upstream.Learned, credentialed bool) (differ []error) {
	for _, l := range learned {
		if l.URL != f.URL {
			continue
		}
		switch {
		case l.Auth == "" || f.Auth == "none":
		case l.Auth != f.Auth:
			differ = append(differ, doctor.Warnf("%s asks for a %s, and the running registry has learned that it asks for a %s; it learns anew with the next refusal", f.URL, wanted[f.Auth], wanted[l.Auth]))
		case l.Realm != f.Realm:
			differ = append(differ, doctor.Warnf("%s names the token endpoint %s, and the running registry has learned %s; it learns anew when that gives no token", f.URL, f.Realm, l.Realm))
		}
		if l.Failure != "" {
			differ = append(differ, doctor.Warnf("%s answers, and the running registry leaves it alone until %s, because: %s", f.URL, l.Until.Format(time.RFC3339), l.Failure))
		}
		if credentialed && l.Auth != "" && !l.Accepted {
			differ = append(differ, doctor.Warnf("%s has not accepted the credentials of the running registry for anything yet; if images are missing, check user and password", f.URL))
		}
	}
	return differ
}

// wanted is how an upstream's way to ask is called.
var wanted = map[string]string{"basic": "password", "token": "token"}

// describe says what was found at one URL.
func describe(f upstream.Found, credentialed bool) (string, error) {
	if f.Err != nil {
		return "", fmt.Errorf("%s: %w", f.URL, f.Err)
	}
	text := f.URL + " answers"
	var ending error
	switch {
	case f.TLS == "":
		text += ", without TLS"
	case time.Until(f.Expires) < expiresSoon:
		ending = doctor.Warnf("%s, %s with a certificate that ends at %s", text, f.TLS, f.Expires.Format(time.RFC3339))
	default:
		text += ", " + f.TLS
	}
	who := "anonymously"
	if credentialed {
		who = "with the credentials"
	}
	switch f.Auth {
	case "none":
		text += ", asks for no token"
	default:
		text += ", asks for a " + wanted[f.Auth] + ", was asked " + who
	}
	if l := f.Limit; !l.At.IsZero() {
		text += fmt.Sprintf(", %d of %d pulls in %s are left", l.Remaining, l.Limit, l.Window)
	}
	switch skew := f.Skew.Abs(); {
	case !f.Dated:
	case skew > doctor.MaxSkew:
		return "", fmt.Errorf("%s, its clock and ours are %s apart: tokens and certificates fail by that", text, skew)
	case skew > time.Second: // the header has whole seconds
		text += fmt.Sprintf(", its clock and ours are %s apart", skew)
	default:
		text += ", its clock agrees"
	}
	return text, ending
}
