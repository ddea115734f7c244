// Package storage is where a registry keeps its content: guest modules oci.storage.*, and
// what each of them can do.
//
//	buckets, err := module.Open(ctx, log)
//	private, err := buckets.Bucket(storage.PrivateTree)
//
// A Module is configured, and Buckets is open. What only some of them can do are interfaces
// that are found by assertion: Located, Strict and Risky of a Module, and LocalDir, DiskSpace
// and Syncs of Buckets. A storage that lies on no local disk has none of these, and serves
// nevertheless: commands then cannot reach the running process, indexes are built anew at each
// start, and mirrors are bounded by size and age alone.
//
// The one module here is File, a directory. What is kept in a tree, and for how long, is not
// this package's affair.
package storage
