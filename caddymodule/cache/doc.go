// Package cache is what is kept beside a storage, to be fast: guest modules oci.cache.*.
//
//	shared, close, err := module.Open(secret, log)
//	settings.CacheSize = module.Memory() / 2 // of each tree
//
// Memory bounds the manifests and tags in the memory of this process. Redis has the same
// memory, and shares what mirrors learned with other processes; while it is slow or gone, the
// upstreams are asked. Nothing here is truth: what is lost is learned again. Clients are pooled
// by all that makes one connection another, so that a reload with a new password, authority or
// secret never goes on with the old one.
//
// How the entries in Redis are protected is in core/cache/redis.
package cache
