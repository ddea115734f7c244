// Package store is a durable core.Registry over a bucket.Bucket.
//
// Content is addressed by digest and stored once for all repositories. A link, which is a
// separate object, makes it readable in a repository, so that knowing a digest is never enough to
// read. The keys, all of them authoritative:
//
//	blobs/sha256/ab/<hex>                  content of blobs and of manifests
//	blobs/sha256/ab/<hex>+<repo>           its link: repo holds this blob (linkRecord)
//	manifests/sha256/ab/<hex>+<repo>       repo holds this manifest (linkRecord)
//	repos/<repo>/_tags/<tag>               what the tag names, and did before (tagRecord)
//	repos/<repo>/_referrers/<subject>/<digest>+<mark>   descriptor of a referrer; the mark is its type's
//	quarantine/<digest>                    content that did not have this digest
//	layout                                 which layout the bucket has (layout)
//
// In the digest-major keys the slashes of <repo> are written as +, so "who needs
// this content" is one List, and content and its links are made durable by one sync.
// A name too long for one component is a separate component (holdKey). Names, which core/index
// implements, serve the lists that must be fast in the order of repositories; they are rebuilt
// from the keys.
//
// Order of writes. A push is acknowledged by its manifest: first the blobs, their links and the
// manifest's content with one barrier (bucket.Barrier), then the referrer entry, if it has a
// subject, then the manifest's link, then the tags, each with its own barrier. A crash between
// any two leaves unreferenced objects for the collector. Deletes use the reverse order.
//
// Locks. Each repository has an RWMutex: shared by PutManifest and by every answer that something
// exists, exclusive for deletes and the collector's step in that repository. It is held for
// metadata, never while a blob streams. A stripe per digest is shared while a link to content is
// made or its removal is not durable yet, and exclusive while unlinked content is dropped.
// Reading a manifest, a blob or a list takes no lock.
//
// The store does not decide permissions, and does not know HTTP.
package store
