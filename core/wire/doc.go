// Package wire is HTTP on one side and core.Registry on the other: it reads the
// requests of the OCI distribution spec and writes their answers.
//
// It does so in two steps, because the caller and the meaning of a name are determined
// between them. Parse makes a Request of the method and the URL, and refuses malformed
// ones before any I/O. Serve carries the Request out against a Registry and writes the
// answer, including every error:
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
// neither identities nor policies; it only needs a Registry that refuses. The server in
// front bounds the time without progress; wire bounds how long a manifest may take.
package wire
