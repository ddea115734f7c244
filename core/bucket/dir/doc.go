// Package dir is a bucket.Bucket on a local disk, and the storage directory that
// holds buckets.
//
//	storage, err := dir.Open("/var/lib/registry", dir.Config{Verify: store.Verify})
//	private, err := storage.Bucket("private")
//	…
//	err = storage.Close()
//
// A storage belongs to one process: Open takes its lock, and a second process is
// refused with a sentence that names the first. It holds `lock`, `layout.json`
// (the version), `clean` (only while stopped in good order) and one tree for each
// bucket:
//
//	private/objects/   the objects, a file each, the key as its path
//	private/pending/   committed uploads whose bytes are not known to be durable
//	private/uploads/   uploads, a file each
//	private/tmp/       files on their way to objects/; emptied by Open
//
// What holds at every moment, whatever is lost in a power cut:
//
//   - A file appears in objects/ only when its bytes have been synced, so an object
//     is absent, old or whole. (All empty objects of a second are names of one
//     file, which is synced before the first.)
//   - Sync returns when the directory entries that lead to a key are durable. The
//     ledger knows which are not, and forgets them when they are; its size follows
//     what is in flight, not what is stored.
//   - What waits for a sync waits for one of its own, or for one of everything on the
//     file system that began after it (see package groupsync).
//   - A file in pending/ is read through Config.Verify after an unclean stop, and
//     published if it is whole.
//   - The bytes of a file whose sync failed are dropped; nobody syncs that file
//     again, because the kernel reports success the second time.
//
// The package does not know what objects mean, and does not work on a file system
// without hard links, directory sync, or times of microseconds: Open refuses it. On one
// without a journal a power cut can take what was synced, and Risks says so.
package dir
