// Package mirror is a pull-through cache: a core.Registry that answers from a sparse store, else
// asks one upstream and stores the answer.
//
// Names are canonical and begin with the mirror's own: docker.io/library/nginx is requested from
// the upstream as library/nginx. Pushes are refused. A permitted delete forgets what is held, so
// that the next read asks the upstream.
//
// A tag is trusted for a while, then checked with one HEAD for all waiting callers, and served
// stale while the upstream cannot be asked. A manifest by digest is fetched once. A blob is
// downloaded once for all readers. The download belongs to the mirror, and readers follow the
// growing upload. No reader of a download gets its last missing byte, or a clean end, before the
// digest of the whole is verified (package download).
//
// An answer waits only for the upstream: the content is stored afterwards, and counts as held
// meanwhile.
//
// It does not decide permissions: core.AccessFrom(ctx) says whether the caller may have the
// upstream asked. A caller without that right is answered from what is held, and the upstream is
// not asked.
//
// Credentials raise limits but do not widen rights. Once per repository and day, the mirror asks
// the upstream anonymously. What the upstream does not show then is served only to callers with
// core.Access.Private, and omitted from the lists of all others. The answers are kept in State;
// only a purge makes the mirror ask again earlier.
//
//	hub, err := mirror.New(mirror.Config{
//		Name: "docker.io", Local: store, State: bucket, Upstream: client,
//	})
//	defer hub.Close()
//	m, err := hub.Manifest(ctx, "docker.io/library/nginx", core.Reference{Tag: "latest"})
package mirror
