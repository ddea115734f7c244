// Package verify reads everything that a registry stores and compares it with its digest.
//
//	v := verify.New(verify.Config{
//		Trees: []verify.Tree{{Name: "private", Store: private}, {Name: "mirrors", Store: mirrors, Mirror: true}},
//		State: bucket,
//	})
//	report, err := v.Run(ctx, verify.Options{Repair: true})
//	…
//	err = v.Close()
//
// Run reports the damage and the repositories, manifests and tags that it affects. With Repair it
// moves content that does not match its digest to the quarantine, which readers do not use. Tags,
// holds and links stay, so the content is missing until it is pushed or fetched again.
// SetSettings makes a run with Repair start in the background from time to time.
//
// Damage is content that was read twice to its end and did not match its digest either time; a
// record with invalid content; and, in a tree that is not a mirror's, missing content that a
// manifest requires or a tag names. In a mirror, missing content is fetched when a client
// requests it. Content that cannot be read is trouble and not damage, and is never moved.
//
// All runs of a Verifier together read no faster than its rate, each from one goroutine. A
// run holds no lock while it reads, so every finding is compared with the present state before it
// is reported or moved: content that was deleted or replaced meanwhile is not damage.
package verify
