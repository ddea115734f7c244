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
// Run reports what is damaged and which repositories, manifests and tags that hits. With
// Repair it moves content that does not match its digest to the quarantine, where no reader
// looks; tags, holds and links stay, so the content is missing until it is pushed or
// fetched again. SetSettings makes a run with Repair start in the background from time to time.
//
// Damage is: content that was read twice to its end and both times did not have its digest;
// a record that says what it cannot say; and, in a tree that is not a mirror's, content that
// a manifest requires or a tag names and that is not there. In a mirror content that is
// missing is fetched when somebody asks for it. What cannot be read is trouble and not damage,
// and is never moved.
//
// All runs of a Verifier together read no faster than its rate, each from one goroutine. A
// run holds no lock while it reads, so whatever it found is compared with what is there
// before it is reported or moved: content that was deleted or replaced meanwhile is not damage.
package verify
