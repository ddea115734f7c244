package pages

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/hours"
)

const (
	// maxCards bounds the repositories of the start page.
	maxCards = 12
	// maxCounted bounds the repositories of a mirror that the start page counts.
	maxCounted = 100
)

// mirrorCard is a mirror on the start page.
type mirrorCard struct {
	Name, Address string
	Images        int64
	More          bool               // there are more than Images
	Last          core.RepositoryRow // that was pulled last
	// Day is its last 24 hours; nil for visitors who may not know.
	Day *hours.Counts
}

type startPage struct {
	frame
	Private []core.RepositoryRow
	More    bool
	Mirrors []mirrorCard
	// Foreign are the mirrors that hold nothing yet.
	Foreign []string
	// Away are the mirrors whose upstream is left alone.
	Away []mirrorShown
}

func (s *Site) start(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	p := startPage{frame: s.frame(ctx, "Images")}
	err := s.private(ctx, &p)
	days := map[string]*hours.Counts{}
	for _, m := range s.allMirrors() {
		if m.Upstream.Bad {
			p.Away = append(p.Away, m)
		}
		if m.Figures != nil {
			days[m.Name] = &m.Figures.Day
		}
	}
	for _, mirror := range s.Mirrors {
		if err != nil {
			break
		}
		var c mirrorCard
		c, err = s.mirror(ctx, mirror)
		c.Day = days[mirror]
		if c.Images > 0 {
			p.Mirrors = append(p.Mirrors, c)
		} else {
			p.Foreign = append(p.Foreign, mirror)
		}
	}
	if err != nil {
		s.broken(w, r, reference{}, err)
		return
	}
	s.render(w, r, http.StatusOK, "start", p, new(bytes.Buffer))
}

// private finds the private repositories that were pushed last.
func (s *Site) private(ctx context.Context, p *startPage) error {
	for row, err := range limit(s.Private.RepositoryRows(ctx, "", core.RepositoriesByPush, ""), core.MaxPassed) {
		if isPause(err) {
			p.More = true
			return nil
		}
		if err != nil {
			return err
		}
		if _, ok := s.owner(row.Name); !ok {
			continue
		}
		if len(p.Private) == maxCards {
			p.More = true
			return nil
		}
		p.Private = append(p.Private, row)
	}
	return nil
}

// mirror counts what a mirror holds, the last pull first.
func (s *Site) mirror(ctx context.Context, name string) (mirrorCard, error) {
	c := mirrorCard{Name: name, Address: "/images?" + url.Values{"in": {name}}.Encode()}
	for row, err := range s.Registry.RepositoryRows(ctx, name, core.RepositoriesByPull, "") {
		if isPause(err) {
			c.More = true
			return c, nil
		}
		if err != nil {
			return c, err
		}
		if c.Images == maxCounted {
			c.More = true
			return c, nil
		}
		if c.Images == 0 {
			c.Last = row
		}
		c.Images++
	}
	return c, nil
}
