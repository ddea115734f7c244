// Package wire is HTTP on one side and core.Registry on the other: it reads the
// requests of the OCI distribution spec and writes their answers.
//
// It does so in two steps, because who asks and what a name means is decided
// between them. Parse makes a value of the method and the URL, and refuses what is
// malformed before anything is read from a disk or a network. Serve carries the
// value out against a Registry and writes the answer, also every error:
//
//	req, err := wire.Parse(r.Method, r.URL)
//	if err != nil {
//		wire.Fail(w, r, req, err, opts)
//		return
//	}
//	req.Repo = canonical(req.Name) // namespace.Resolve
//	wire.Serve(w, r, req, guarded, opts)
//
// It keeps no state, starts no goroutine and buffers no blob: a body goes from the
// connection into core.Upload.Append and from core.Blob to the connection. It knows
// neither identities nor policies; a Registry that refuses is enough for it. The server
// in front bounds the time without progress; how long a manifest may take, wire does.
package wire
