// Package upstream is the client of one upstream registry, as a mirror needs it:
// it asks, it follows, and it says exactly what kind of failure it met.
//
// It keeps nothing that it fetched, decides nothing about freshness and knows
// nobody's rights: core/mirror does. It is the only package that knows
// go-containerregistry, and of that only the token exchange, because a mirror
// needs headers, ranges and one refresh for all who wait.
//
// What comes from an upstream is not trusted. Realms, redirects and links are
// followed to public addresses only (the check is on the address that is dialled,
// so a name that resolves differently the second time gains nothing), never from
// https to http, and credentials stay with the host and port they are for.
//
//	hub, err := upstream.New(upstream.Config{
//		Name: "docker.io",
//		URLs: []string{"https://registry-1.docker.io"},
//	})
//	head, err := hub.Head(ctx, "library/nginx", core.Reference{Tag: "latest"})
//	if errors.Is(err, upstream.ErrRateLimited) { … }
package upstream
