package overview

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/hours"
)

// Facts is all that is known of a mirror.
type Facts struct {
	// State is that of its upstream: ok, limited, away or unknown. Reason is why it is not asked, in
	// words for any caller, and Details with hosts. Since and Until are the times of that.
	State           string
	Reason, Details string
	Since, Until    time.Time
	Limit           Limit
	// Held is in bytes, or -1 as long as it is not known. MaxSize is 0 without a bound.
	Held, MaxSize int64
	Hours         []hours.Hour
	Downloads     []Fetching
	// Next is what it drops next, as of Sought.
	Next   []Due
	Sought time.Time
}

// Limit is the pull limit of an upstream as it announced it.
type Limit struct {
	Limit     int `json:"limit"`
	Remaining int `json:"remaining"`
	// Resets is by when it begins anew, and At when it was announced.
	Resets time.Time `json:"resets,omitzero"`
	At     time.Time `json:"at,omitzero"`
}

// Fetching is a download in flight.
type Fetching struct {
	Repos  []string
	Digest string
	// Held of Size bytes are here. Size is -1 if it is not known.
	Held, Size int64
	Readers    int
}

// Due is an image that goes before others.
type Due struct {
	Repository string    `json:"repository"`
	Digest     string    `json:"digest"`
	Pulled     time.Time `json:"pulled,omitzero"`
	// Goes is when it goes, unless it is pulled again or space is needed before.
	Goes time.Time `json:"goes"`
}

// Use is how a client asked a mirror.
type Use struct {
	// Form is how it named the mirror: prefix, ns, site, fallback.
	Form string `json:"form"`
	// Address is for administrators. For others the clients of a form are one.
	Address  string    `json:"address,omitempty"`
	Requests uint64    `json:"requests"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// Mirror is what a caller sees of a mirror.
type Mirror struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Reason is why the upstream is not asked, Since when, and Until when it is left alone.
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	// Figures are for those who may read everything that the mirror has.
	Figures *Figures `json:"figures,omitempty"`
}

// Figures are sums over a whole mirror.
type Figures struct {
	// Day and Month are the last 24 hours and 30 days, with the present hour.
	Day   hours.Counts `json:"day"`
	Month hours.Counts `json:"month"`
	// Alone is what was answered since the hour in which the upstream could not be asked any more.
	Alone *hours.Counts `json:"alone,omitempty"`
	Limit *Limit        `json:"limit,omitempty"`
	// Held is in bytes, and absent as long as it is not known.
	Held      *int64 `json:"held,omitempty"`
	MaxSize   int64  `json:"max_size,omitempty"`
	Downloads int    `json:"downloads"`
}

// Detail is all that a caller sees of a mirror.
type Detail struct {
	Mirror
	// Hours and Uses are for those who may read everything that the mirror has.
	Hours []hours.Hour `json:"hours,omitempty"`
	Uses  []Use        `json:"uses,omitempty"`
	// Running are the downloads in flight, and Next what goes next, both as far as the caller may read
	// their repositories. Sought is as of when Next is known.
	Running []Download `json:"running"`
	Next    []Due      `json:"next"`
	Sought  time.Time  `json:"next_as_of,omitzero"`
}

// Download is a download in flight as a caller sees it.
type Download struct {
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	Held       int64  `json:"held"`
	// Size is absent if it is not known.
	Size    int64 `json:"size,omitempty"`
	Readers int   `json:"readers"`
}

// All returns the mirrors in which the caller may read something.
func (v *Viewer) All() []Mirror {
	shown := []Mirror{}
	now := time.Now()
	for _, name := range v.Mirrors {
		if facts, ok := v.Source.Mirror(name); ok {
			shown = append(shown, v.mirror(name, facts, now))
		}
	}
	return shown
}

// One returns a mirror. Errors: core.ErrNameUnknown, also for one in which the caller may read nothing;
// those of Source.Uses.
func (v *Viewer) One(ctx context.Context, name string) (Detail, error) {
	facts, ok := v.Source.Mirror(name)
	if !ok || !slices.Contains(v.Mirrors, name) {
		return Detail{}, core.ErrNameUnknown
	}
	d := Detail{Mirror: v.mirror(name, facts, time.Now()), Running: []Download{}, Next: []Due{}}
	for _, one := range facts.Downloads {
		i := slices.IndexFunc(one.Repos, func(repo string) bool { return v.follows(ctx, name, repo) })
		if i >= 0 {
			d.Running = append(d.Running, Download{one.Repos[i], one.Digest, one.Held, max(0, one.Size), one.Readers})
		}
	}
	for _, due := range facts.Next {
		if v.sees(ctx, due.Repository) {
			d.Next = append(d.Next, due)
		}
	}
	if len(d.Next) > 0 {
		d.Sought = facts.Sought
	}
	if d.Figures == nil {
		return d, nil
	}
	d.Hours = facts.Hours
	uses, err := v.Source.Uses(ctx, name)
	if err != nil {
		return Detail{}, err
	}
	d.Uses = uses
	if !v.Admin() {
		d.Uses = byForm(uses)
	}
	return d, nil
}

// byForm adds up the clients of each form.
func byForm(uses []Use) []Use {
	of := map[string]Use{}
	for _, use := range uses {
		sum, ok := of[use.Form]
		if !ok {
			sum = Use{Form: use.Form, First: use.First}
		}
		sum.Requests += use.Requests
		if use.First.Before(sum.First) {
			sum.First = use.First
		}
		if use.Last.After(sum.Last) {
			sum.Last = use.Last
		}
		of[use.Form] = sum
	}
	all := make([]Use, 0, len(of))
	for _, use := range of {
		all = append(all, use)
	}
	slices.SortFunc(all, func(a, b Use) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Form, b.Form)) })
	return all
}

func (v *Viewer) mirror(name string, f Facts, now time.Time) Mirror {
	m := Mirror{Name: name, State: f.State, Reason: f.Reason, Since: f.Since, Until: f.Until}
	if v.Admin() && f.Details != "" {
		m.Reason = f.Details
	}
	if !v.whole(name) {
		return m
	}
	figures := &Figures{
		Day: since(f.Hours, now.Add(-24*time.Hour)), Month: since(f.Hours, now.Add(-hours.Kept*time.Hour)),
		MaxSize: f.MaxSize, Downloads: len(f.Downloads),
	}
	if !f.Since.IsZero() {
		alone := since(f.Hours, f.Since.Add(-time.Hour))
		figures.Alone = &alone
	}
	if !f.Limit.At.IsZero() {
		limit := f.Limit
		figures.Limit = &limit
	}
	if held := f.Held; held >= 0 {
		figures.Held = &held
	}
	m.Figures = figures
	return m
}

// since adds up the hours that began after t.
func since(all []hours.Hour, t time.Time) (sum hours.Counts) {
	for _, hour := range all {
		if hour.Begin.After(t) {
			sum = sum.Plus(hour.Counts)
		}
	}
	return sum
}
