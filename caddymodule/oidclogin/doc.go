// Package oidclogin signs people in with an OpenID Connect provider, and keeps their
// groups up to date with the provider.
//
//	provider.go   the provider: discovery when it is needed, with retries
//	keyset.go     its signing keys, fetched no more often than needed
//	claims.go     its claims: a name, groups
//	login.go      one sign-in: begun, and finished by the callback
//	returnpath.go where a sign-in may redirect to
//	refresh.go    claims by a refresh token
//	follow.go     groups that follow the provider while a person uses the registry
//	logout.go     signing out, begun here or at the provider
//
// It is the code flow with PKCE (S256), a state and a nonce, all bound to the browser
// by a sealed cookie. Only claims that the provider signed, or sent over its own TLS connection,
// are trusted. A signature must be by an algorithm that its discovery names: never none, never
// one with a shared secret.
//
// It has neither pages nor sessions: it only identifies people.
//
//	provider := oidclogin.New("https://id.example.org/", "registry", oidclogin.Config{})
//	provider.Configure(settings)
//	address, cookie, err := login.Begin(ctx, "/user/apikey", false)
//	result, err := login.Finish(ctx, r.URL.Query(), cookie)
package oidclogin
