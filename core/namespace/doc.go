// Package namespace says which Registry a repository name belongs to.
//
// Clients ask for one repository in several ways: by path, with `ns` beside it, on a
// site that stands for something. Resolve turns each into the canonical name, and
// refuses a name that nobody claims; policy, logs, caches and the catalog know
// canonical names only, so that no rule is passed by asking in another form. It also
// says which mirror has the name, and nobody decides that again. New joins the
// registries behind the names into one:
//
//	union := namespace.New(site.Owner, map[string]core.Registry{"": store, "docker.io": hub})
//	resolved, err := namespace.Resolve(request, site)
//	registry := union.For(resolved)
//
// Names are resolved in this order: the mirror that `ns` names, unless that is
// ourselves; a mirror's prefix; the mirror that the site stands for; the private
// globs; the fallback. Whether a repository exists is never asked here, and nothing
// is read or dialled.
package namespace
