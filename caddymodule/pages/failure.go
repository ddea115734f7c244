package pages

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// failure is the data of an error's page.
type failure struct {
	frame
	Text string
	// Pull is the line that lets a mirror fetch what is not here.
	Pull string
	// Fetch is where a form has the mirror fetch it, or shows the tags of the upstream. Empty: the
	// visitor may not, or nothing can be fetched. Names: it is about tags.
	Fetch string
	Names bool
	// Request finds the error in the log.
	Request string
	// Missing: nothing is here that the visitor may see.
	Missing bool
}

func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	p := failure{frame: s.frame(r.Context(), title), Text: text}
	p.Here = ""
	s.render(w, r, status, "error", p, new(bytes.Buffer))
}

// absent are the errors that mean: nothing is here that the visitor may see. They have one page,
// whichever it is.
var absent = []error{
	core.ErrNameUnknown, core.ErrManifestUnknown, core.ErrBlobUnknown, core.ErrUnauthorized, core.ErrDenied,
	core.ErrNameInvalid, core.ErrTagInvalid, core.ErrDigestInvalid,
}

// broken answers for an error with a page. f is what was asked for, as far as it was understood.
func (s *Site) broken(w http.ResponseWriter, r *http.Request, f reference, err error) {
	is := func(one error) bool { return errors.Is(err, one) }
	switch {
	case slices.ContainsFunc(absent, is):
		p := failure{frame: s.frame(r.Context(), "Nothing is here"), Missing: true,
			Text: "There is no such image, or you may not see it."}
		if s.SignIn == LoginPath {
			p.SignIn += "?" + url.Values{"return": {r.URL.Path}}.Encode()
		}
		if mirror, ok := s.owner(f.repo); ok && mirror != "" {
			if s.mayFetch(f.repo) {
				p.Fetch, p.Names = f.path()+fetchSuffix, f.Reference == core.Reference{}
				if p.Names {
					p.Fetch = offeredPath(f.repo)
				}
			}
			p.Text = "The mirror of " + mirror + " holds no such image, or you may not see it."
			p.Pull = "docker pull " + strings.Replace(strings.TrimPrefix(f.path(), "/images/"), mirror, s.Host+"/"+mirror, 1)
		}
		s.render(w, r, http.StatusNotFound, "error", p, new(bytes.Buffer))
		return
	case errors.Is(err, errPlace):
		s.fail(w, r, http.StatusBadRequest, "The list does not go on here", "The address is not one that this registry has written. Begin with its first page.")
		return
	}
	status, title, text := http.StatusInternalServerError, "The registry could not do it", "Its log says why, under this number."
	if errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrTooManyRequests) {
		status, title, text = http.StatusServiceUnavailable, "The registry cannot show this now", "Try again in a moment."
		w.Header().Set("Retry-After", "5")
		retry(w, err)
	}
	id := ""
	if r.Context().Err() == nil && !errors.Is(err, errTurn) { // or the browser has left
		id = rand.Text()[:10]
		s.Log.Error("page failed", "path", r.URL.Path, "request", id, "error", err)
	}
	p := failure{frame: s.frame(r.Context(), title), Text: text, Request: id}
	s.render(w, r, status, "error", p, new(bytes.Buffer))
}

// retry says when it makes sense to ask again, if the error knows.
func retry(w http.ResponseWriter, err error) {
	if at := core.Retry(err); !at.IsZero() {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(time.Until(at).Seconds())))))
	}
}
