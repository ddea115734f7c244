// Package upstream is the client of one upstream registry, as a mirror needs it:
// it asks, follows redirects, and classifies failures exactly.
//
// It stores no content, does not decide about freshness and knows no rights:
// core/mirror does that. Of go-containerregistry it uses only the
// token exchange, because a mirror needs headers, ranges and one refresh for all
// waiting callers.
//
// Answers of an upstream are not trusted. Realms, redirects and links are
// followed only to public addresses (the check is on the address that is dialled,
// so a name that resolves differently the second time does not help), never from
// https to http, and credentials are sent only to their own host and port.
//
//	hub, err := upstream.New(upstream.Config{
//		Name: "docker.io",
//		URLs: []string{"https://registry-1.docker.io"},
//	})
//	head, err := hub.Head(ctx, "library/nginx", core.Reference{Tag: "latest"})
//	if errors.Is(err, upstream.ErrRateLimited) { … }
package upstream
