// Package checks is what `registry doctor` examines: the storage, its disk, keys, content and
// records, the sites, and the mirrors with their upstreams.
//
//	patient := &checks.Patient{Storage: module, Condition: ask, Sites: found, Mirrors: mirrors}
//	report := doctor.Examine(ctx, patient.Checks())
//
// A control.Condition describes the open storage. It comes from the process that has the
// storage open, or from the caller. Guest modules and the sign-in are examined where they are
// configured; their checks are in Patient.More.
package checks

import (
	"context"
	"errors"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/storage"
	"github.com/eblume/caddy-registry/core/evict"
)

// Patient is a registry as the doctor looks at it.
type Patient struct {
	Storage storage.Module
	// Directory is where the storage is, for people.
	Directory string
	// Condition asks the process that has the storage open, or opens it: its lock, its layout
	// and what it rests on are looked at by that. mirrors are the names of all mirrors.
	Condition func(ctx context.Context, mirrors []string) (control.Condition, error)
	// MinFree is what mirrors leave free on their disk.
	MinFree evict.MinFree
	Mirrors []Mirror
	Sites   []Site
	// More are checks of what the configuration has beside these.
	More []doctor.Check
}

// Checks are those of the storage, of every site and of every mirror, and More. What can be
// wrong has a check here.
func (p *Patient) Checks() []doctor.Check {
	state, looked := new(control.Condition), false
	// seen is a check that needs the storage's condition.
	seen := func(name string, look func(*control.Condition) (string, error)) doctor.Check {
		return doctor.Check{Name: name, Run: func(context.Context) (string, error) {
			if !looked {
				return "", errors.New("not examined, because the storage was not reached")
			}
			return look(state)
		}}
	}
	checks := []doctor.Check{
		{Name: "storage", Run: func(ctx context.Context) (text string, err error) {
			*state, text, err = p.look(ctx)
			looked = err == nil
			return text, err
		}},
		{Name: "durability", Run: func(context.Context) (string, error) { return p.risks() }},
		seen("identity", describeIdentity),
		seen("keys", describeKeys),
		seen("content", describeContent),
		seen("records", describeRecords),
		{Name: "disk", Run: func(context.Context) (string, error) { return lookAtDisk(state.MirrorsDir, p.MinFree) }},
	}
	for _, site := range p.Sites {
		checks = append(checks, doctor.Check{Name: "site " + site.Base.String(), Run: func(ctx context.Context) (string, error) {
			return site.look(ctx, state.Instance)
		}})
	}
	for _, m := range p.Mirrors {
		checks = append(checks,
			seen("use of "+m.Name, func(c *control.Condition) (string, error) { return describeUse(c, m.Name) }),
			seen("tags of "+m.Name, func(c *control.Condition) (string, error) { return describeGone(c.Gone[m.Name]) }),
			doctor.Check{Name: "upstream of " + m.Name, Run: func(ctx context.Context) (string, error) {
				return m.look(ctx, state.Samples[m.Name], state.Learned[m.Name])
			}})
	}
	return append(checks, p.More...)
}
