package caddymodule

import (
	"context"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/eblume/caddy-registry/caddymodule/sites"
	"github.com/eblume/caddy-registry/caddymodule/welcome"
	"github.com/eblume/caddy-registry/policies"
)

// welcomed is set once the process has said where it serves: a reload does not repeat it.
var welcomed atomic.Bool

// sayWelcome handles the event "started", which comes when all apps of a configuration run.
type sayWelcome struct{ app *App }

// Handle implements caddyevents.Handler.
func (w sayWelcome) Handle(context.Context, caddy.Event) error {
	served := w.app.served()
	if len(served) == 0 || !welcomed.CompareAndSwap(false, true) {
		return nil
	}
	about := welcome.About{Program: os.Args[0], Storage: w.app.storage.Directory(), Group: w.app.pushingGroup()}
	for _, one := range served {
		about.URLs = append(about.URLs, one.base.String())
	}
	if w.app.OIDC != nil || len(w.app.LocalUsers) > 0 {
		about.Pages = w.app.pagesAt(served)
	}
	welcome.Say(os.Stderr, w.app.log, about)
	return nil
}

// servedAt is a site of the running configuration.
type servedAt struct {
	sites.Site
	base *url.URL
}

// served are the sites of this configuration, without those whose names have wildcards.
func (a *App) served() (found []servedAt) {
	for server := range a.servers {
		for _, listen := range server.Listen {
			address, err := caddy.ParseNetworkAddress(listen)
			if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() {
				continue
			}
			reach(server.Routes, []string{""}, func(h *Handler, hosts []string) {
				for _, host := range hosts {
					if h.app != a || strings.ContainsAny(host, "*{") {
						continue
					}
					site := sites.Site{Host: host, Address: address, TLS: len(server.TLSConnPolicies) > 0, ReadOnly: h.ReadOnly}
					name := "localhost" // plain HTTP takes credentials from this machine alone
					if site.TLS {
						name = sites.MachineName(sites.Named(a.URL))
					}
					found = append(found, servedAt{site, site.Base(name)})
				}
			})
		}
	}
	slices.SortFunc(found, func(a, b servedAt) int { return strings.Compare(a.base.String(), b.base.String()) })
	return slices.CompactFunc(found, func(a, b servedAt) bool { return *a.base == *b.base })
}

// reach calls use for each Handler in routes, with the host names under which it is
// reached, below what hosts are.
func reach(routes caddyhttp.RouteList, hosts []string, use func(*Handler, []string)) {
	for _, route := range routes {
		within := hosts
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				if names, ok := matcher.(*caddyhttp.MatchHost); ok {
					within = *names
				}
			}
		}
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Handler:
				use(handler, within)
			case *caddyhttp.Subroute:
				reach(handler.Routes, within, use)
			}
		}
	}
}

// pagesAt is the root of the site where people sign in: the registry's own URL, or the
// first site that takes passwords; empty: none does.
func (a *App) pagesAt(served []servedAt) string {
	if a.URL != "" {
		return a.OwnURL()
	}
	for _, one := range served {
		if !one.ReadOnly && (one.TLS || one.Loopback() || one.Wild()) {
			return one.base.String()
		}
	}
	return ""
}

// pushingGroup is the first group that a rule lets administer, or else create.
func (a *App) pushingGroup() string {
	for _, action := range []policies.Action{policies.Admin, policies.Create} {
		for _, rule := range a.rules {
			if group, ok := rule.Who.NamesGroup(); ok && !rule.Deny && slices.Contains(rule.Actions, action) && slices.Contains(rule.Actions, policies.Create) {
				return group
			}
		}
	}
	return ""
}
