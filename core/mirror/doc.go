// Package mirror is pull-through: a core.Registry that answers from a sparse store,
// else asks one upstream, and keeps what it was given.
//
// Names are canonical and begin with the mirror's own: docker.io/library/nginx is
// asked upstream as library/nginx. Pushes are refused; deleting, by one who may,
// forgets what is held, so that the next read asks the upstream.
//
// A tag is trusted for a while, then checked with one HEAD for all who wait, and
// served stale while the upstream cannot be asked. A manifest by digest is fetched
// once. A blob is downloaded once whoever asks: the download belongs to the mirror,
// readers follow the growing upload, and no reader of one download gets its last missing
// byte, or a clean end, before the digest of the whole is right (package download).
//
// An answer waits for the upstream alone: what it brings is kept behind it, and counts
// as held meanwhile.
//
// It does not decide who may do what: core.AccessFrom(ctx) says whether the caller
// may let it ask the upstream. Without that right a caller is answered from what is
// held, and the upstream is not asked on his behalf.
//
// Credentials raise limits and widen no rights: what the upstream does not show to an
// anonymous caller, asked once per repository and day, is served to callers with
// core.Access.Private only, and named in no other's lists. The answers are kept in
// State; nobody but a purge makes one be asked for anew.
//
//	hub, err := mirror.New(mirror.Config{
//		Name: "docker.io", Local: store, State: bucket, Upstream: client,
//	})
//	defer hub.Close()
//	m, err := hub.Manifest(ctx, "docker.io/library/nginx", core.Reference{Tag: "latest"})
package mirror
