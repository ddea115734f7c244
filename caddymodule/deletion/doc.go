// Package deletion finds out what the deletion of images removes, and removes exactly that.
//
// A registry deletes one manifest at a time, with its tags. What people call an image is more: the
// images of its platforms, and the signatures and SBOMs that refer to them. A Plan has all of it,
// from the Catalog of a guarded Registry:
//
//	plan, err := deletion.Of(ctx, registry, repo, digests, mirrorOf)
//	// show it; later make it again, and compare the Key
//	went, err := plan.Delete(ctx, registry)
//
// With a chosen manifest go the manifests that it names, those that refer to it and those that tags
// attach to it (core.AttachedTags), and theirs, unless a tag or a manifest that stays keeps them: as
// the collector would decide. The deleting step checks again, and removes nothing that got another
// tag or another user meanwhile. It ends there, and leaves nothing without its parts or signatures.
// Deleting frees nothing by itself: the collector does, and Bytes is what it will find.
//
// It refuses to guess: an index that is not whole, and more than it can show, are errors.
package deletion
