// Package transfer copies images from elsewhere into a store: from zot's directory (package
// zot), an OCI image layout (package layout), or another registry (package remote). It does not
// know Caddy.
//
// An Importer asks a Source for its repositories and images, checks each digest, and
// puts every image below the protocol, with the times and the pushers that the source
// knows. It can be interrupted anywhere and started again: existing content is not copied again,
// and an image is put only when everything that it needs exists. A second import copies the
// difference. It does not change images that were pushed or deleted here since:
//
//	the tag is absent here, and no import has brought it   it is set
//	it was brought by an import, and is still as it was    it follows the source
//	it was pushed here                                     it stays, and is listed
//	it was deleted here                                    it stays deleted, and is listed
//
// Content that is damaged or invalid is left out and reported; it never ends an import.
package transfer
