// Package session keeps browser sessions, and seals values that only the registry
// may read again.
//
//	session.go   sessions: made, found, ended
//	seal.go      a key of the storage's own, and what it seals
//	cookie.go    the cookies of a browser
//
// A browser holds a random id; the record is kept under the id's hash, so that a copy of the
// storage does not allow a sign-in. A session is durable before its cookie is sent, and gone
// before its end is acknowledged.
//
// A session is for pages. Nothing here is a credential under /v2/ or at /token.
//
//	sessions, err := session.Open(ctx, bucket, log, nil)
//	id, err := sessions.Create(ctx, session.Session{User: "ada"}, 12*time.Hour)
//	session.SetCookie(w, "registry_session", id, 12*time.Hour, secure)
package session
