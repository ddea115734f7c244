package pages

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/overview"
	"github.com/eblume/caddy-registry/core"
)

const (
	// MirrorsPath, ActivityPath and StoragePath are what this registry knows of itself.
	MirrorsPath  = "/mirrors"
	ActivityPath = "/activity"
	// StoragePath is there for administrators alone.
	StoragePath = "/admin/storage"
	// maxClients bounds the clients of a mirror that its page names.
	maxClients = 50
)

// upstreamState is the state of an upstream on pages.
type upstreamState struct {
	Badge, Text string
	Bad         bool
}

// stateOf says in words how an upstream is.
func stateOf(m overview.Mirror) upstreamState {
	switch m.State {
	case "ok":
		return upstreamState{Badge: "Reachable", Text: "The upstream answered the last request."}
	case "limited":
		return upstreamState{Badge: "Limited", Text: "The upstream limits requests and is left alone.", Bad: true}
	case "away":
		return upstreamState{Badge: "Away", Text: "The upstream cannot be reached. What is held is served.", Bad: true}
	}
	return upstreamState{Badge: "Not asked yet", Text: "The upstream was not asked since the start."}
}

// mirrorShown is a mirror with its state.
type mirrorShown struct {
	overview.Mirror
	Upstream upstreamState
}

// Path is the address of its page.
func (m mirrorShown) Path() string { return MirrorsPath + "/" + m.Name }

// Here is the part of the answers of 24 hours that came from here.
func (m mirrorShown) Here() string { return percent(m.Figures.Day.Here(), m.Figures.Day.Asked) }

type mirrorsPage struct {
	frame
	All []mirrorShown
}

// mirrors shows all mirrors.
func (s *Site) mirrors(w http.ResponseWriter, r *http.Request) {
	p := mirrorsPage{frame: s.frame(r.Context(), "Mirrors"), All: s.allMirrors()}
	p.Frame.Here = "mirrors"
	s.render(w, r, http.StatusOK, "mirrors", p, new(bytes.Buffer))
}

func (s *Site) allMirrors() (all []mirrorShown) {
	if s.View == nil {
		return nil
	}
	for _, m := range s.View.All() {
		all = append(all, mirrorShown{m, stateOf(m)})
	}
	return all
}

type mirrorPage struct {
	frame
	mirrorShown
	Detail  overview.Detail
	Plots   []plot
	Clients []overview.Use
	More    int // clients beyond them
	Images  string
	Purge   bool // offer to forget what it holds
	Running []download
	Next    []due
	Admin   bool
}

// download is a download in flight.
type download struct {
	overview.Download
	Short string
	// Width is how much of it is here, of 100.
	Width string
}

type due struct {
	overview.Due
	Short, Path string
}

// oneMirror shows a mirror.
func (s *Site) oneMirror(w http.ResponseWriter, r *http.Request, name string) {
	if text := strings.TrimSpace(r.URL.Query().Get("purge")); text != "" {
		s.purge(w, r, name, text)
		return
	}
	detail, err := s.View.One(r.Context(), name)
	if err != nil {
		s.broken(w, r, reference{}, err)
		return
	}
	p := mirrorPage{
		frame:  s.frame(r.Context(), name, crumb{"Mirrors", MirrorsPath}),
		Detail: detail, mirrorShown: mirrorShown{detail.Mirror, stateOf(detail.Mirror)},
		Images: "/images?" + url.Values{"in": {name}}.Encode(), Admin: s.View.Admin(),
	}
	p.Frame.Here = "mirrors"
	if detail.Figures != nil {
		p.Plots = []plot{
			plotOf("day", "24 hours", detail.Hours, s.now, 24, time.Hour, "15:04"),
			plotOf("month", "30 days", detail.Hours, s.now, 30, 24*time.Hour, time.DateOnly),
		}
	}
	p.Clients = detail.Uses[:min(maxClients, len(detail.Uses))]
	p.More = len(detail.Uses) - len(p.Clients)
	p.Purge = p.Admin && !s.Who.Anonymous()
	for _, one := range detail.Running {
		d := download{Download: one, Short: short(digest.Digest(one.Digest)), Width: "0"}
		if one.Size > 0 {
			d.Width = percentWidth(one.Held, one.Size)
		}
		p.Running = append(p.Running, d)
	}
	for _, one := range detail.Next {
		d := digest.Digest(one.Digest)
		p.Next = append(p.Next, due{one, short(d), digestPath(one.Repository, d)})
	}
	s.render(w, r, http.StatusOK, "mirror", p, new(bytes.Buffer))
}

// purge leads from an image, as a person or a client calls it, to the review of what goes with it.
func (s *Site) purge(w http.ResponseWriter, r *http.Request, mirror, text string) {
	f, err := s.parse(text)
	if err != nil || s.mirrorOf(f.repo) != mirror {
		f, err = s.parse(mirror + "/" + text)
	}
	if err == nil && s.mirrorOf(f.repo) != mirror {
		err = core.ErrNameUnknown
	}
	if err != nil {
		s.broken(w, r, f, err)
		return
	}
	http.Redirect(w, r, deletePath(f.repo, f.Tag, f.Digest), http.StatusSeeOther)
}

func percentWidth(part, whole int64) string {
	width := percent(min(part, whole), whole)
	return width[:len(width)-len(" %")]
}

// clock is the time of day in UTC, with the day if that is another one.
func clock(now, t time.Time) template.HTML {
	layout := "15:04 UTC"
	if now.UTC().Format(time.DateOnly) != t.UTC().Format(time.DateOnly) {
		layout = "2006-01-02 15:04 UTC"
	}
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `">` + t.UTC().Format(layout) + `</time>`)
}
