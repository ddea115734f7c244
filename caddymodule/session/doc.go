// Package session keeps who is signed in with a browser, and seals what the registry
// must read again and nobody else may.
//
//	session.go   sessions: made, found, ended
//	seal.go      a key of the storage's own, and what it seals
//	cookie.go    how a browser is told, and what it sends back
//
// A browser holds a random id; the record is kept under the id's hash, so that who
// reads a copy of the storage is signed in nowhere. A session is durable before its
// cookie is sent, and gone before its end is acknowledged.
//
// A session is for pages. Nothing here is a credential under /v2/ or at /token.
//
//	sessions, err := session.Open(ctx, bucket, log, nil)
//	id, err := sessions.Create(ctx, session.Session{User: "ada"}, 12*time.Hour)
//	session.SetCookie(w, "registry_session", id, 12*time.Hour, secure)
package session
