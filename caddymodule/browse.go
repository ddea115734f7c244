package caddymodule

import (
	"errors"
	"net/http"

	"github.com/eblume/caddy-registry/caddymodule/observe"
	"github.com/eblume/caddy-registry/caddymodule/pages"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/wire"
	"github.com/eblume/caddy-registry/policies"
)

// checkPages checks the word of the option pages.
func (h *Handler) checkPages() error {
	if h.Pages != "" && h.Pages != "off" {
		return errors.New(`"` + h.Pages + `" must be off`)
	}
	return nil
}

// signsIn reports whether people can sign in on this site.
func (h *Handler) signsIn() bool {
	return !h.ReadOnly && (h.app.OIDC != nil || len(h.app.LocalUsers) > 0)
}

// serveImages answers with a page about images, if the request is for one and this site has
// them. It reports whether it did.
func (h *Handler) serveImages(w http.ResponseWriter, r *http.Request) bool {
	known := pages.Serves(r.URL.Path) || pages.WantsPage(r)
	if h.Pages == "off" || !known && r.URL.Path != pages.StoragePath {
		return false
	}
	union, err := h.app.acquire(r.Context())
	if err != nil && !known {
		return false
	}
	if !pages.Acts(r.URL.Path) { // those read a form
		wire.LeaveBody(w, r)
	}
	if err != nil {
		h.unusable(w, r, err)
		return true
	}
	defer h.app.storage.Release()
	site := h.browser(r, union)
	if !known && !site.View.Admin() {
		return false
	}
	site.ServeHTTP(w, r)
	return true
}

// unusable is the answer while the storage cannot be opened.
func (h *Handler) unusable(w http.ResponseWriter, r *http.Request, err error) {
	h.log.Error("page was not served", "path", r.URL.Path, "error", err)
	w.Header().Set("Retry-After", "1")
	http.Error(w, "The registry cannot be used now. Its log says why.", http.StatusServiceUnavailable)
}

// browser is the pages about images for whoever asks. The storage must be acquired.
func (h *Handler) browser(r *http.Request, union *namespace.Union) *pages.Site {
	conn := connectionOf(r)
	who := h.visitor(r)
	// Any name without a mirror finds the private registry.
	private := union.For(namespace.Resolved{Request: wire.Request{Repo: "private"}})
	guarded := policies.Guard(union, h.app.policy, who)
	site := &pages.Site{
		Registry: observe.Changes(guarded, h.app.audit, observe.By(who, who.Address)),
		View:     h.overview(guarded, who),
		Private:  policies.Guard(private, h.app.policy, who),
		Rights:   func(repo string) []pages.Right { return h.shownRights(who, repo) },
		Refused: func(repo string, action policies.Action, err error) {
			h.pageRefused(r, who, repo, action, err)
		},
		Untagged:  h.app.collection.Settings().Untagged,
		Canonical: h.site.Canonical, Mirrors: h.visibleMirrors(who), Who: who, Host: conn.Host, Plain: !conn.HTTPS,
		Cursors: h.app.storage.Callers().Sessions, Log: h.log,
	}
	switch {
	case h.signsIn() && (conn.Private() || h.InsecureCredentials):
		site.SignIn = pages.LoginPath
	case h.app.URL != "" && (h.app.OIDC != nil || len(h.app.LocalUsers) > 0):
		site.SignIn = h.app.OwnURL() + pages.LoginPath
	}
	return site
}

// visitor is who is signed in with a browser, or the anonymous caller.
func (h *Handler) visitor(r *http.Request) (who policies.Identity) {
	if h.signsIn() {
		spec, err := h.app.signIn.spec()
		if err != nil {
			h.log.Error("nobody is signed in", "error", err)
		} else {
			who, _ = h.pages(spec).SignedIn(r)
		}
	}
	who.Address = clientAddress(r)
	return who
}

// visibleMirrors are the mirrors in which a caller may read anything.
func (h *Handler) visibleMirrors(who policies.Identity) (visible []string) {
	rules, ok := h.app.policy.(*policies.Rules)
	if !ok {
		return nil
	}
	for _, mirror := range h.site.Mirrors {
		if rules.MayWithin(who, policies.Read, mirror+"/**") {
			visible = append(visible, mirror)
		}
	}
	return visible
}
