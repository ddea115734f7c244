// Package dir is a bucket.Bucket on a local disk, and the storage directory that
// holds buckets.
//
//	storage, err := dir.Open("/var/lib/registry", dir.Config{Verify: store.Verify})
//	private, err := storage.Bucket("private")
//	…
//	err = storage.Close()
//
// A storage belongs to one process: Open takes its lock, and a second process is
// refused with a message that names the first. It holds `lock`, `layout.json` (the version),
// `clean` (only after a clean stop) and one tree for each bucket:
//
//	private/objects/   the objects, a file each, the key as its path
//	private/pending/   committed uploads whose bytes are not known to be durable
//	private/uploads/   uploads, a file each
//	private/tmp/       files on their way to objects/; emptied by Open
//
// These invariants hold at every moment, also after a power cut:
//
//   - A file appears in objects/ only when its bytes have been synced, so an object
//     is absent, old or whole. (All empty objects of a second are names of one
//     file, which is synced before the first.)
//   - Sync returns when the directory entries that lead to a key are durable. The ledger
//     holds only the entries that are not; its size depends on the writes in flight, not on
//     the stored content.
//   - A caller waits for a sync of its own file, or for a sync of the whole file system that
//     began after its call (see package groupsync).
//   - A file in pending/ is read through Config.Verify after an unclean stop, and
//     published if it is whole.
//   - The bytes of a file whose sync failed are dropped; that file is not synced again, because
//     the kernel reports success the second time.
//
// The package does not know what objects mean, and does not work on a file system
// without hard links, directory sync, or times of microseconds: Open refuses it. On one without
// a journal a power cut can lose synced data, which Risks reports.
package dir
