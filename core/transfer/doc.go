// Package transfer copies images from elsewhere into a store: from zot's directory (package
// zot), an OCI image layout (package layout), or another registry (package remote). It knows
// no Caddy.
//
// An Importer asks a Source for its repositories and images, checks each digest, and
// puts every image below the protocol, with the times and the pushers that the source
// knows. It can be cut off anywhere and started again: what is there already is not
// copied again, and an image is put only when all that it needs is there. A second
// import brings the difference. It leaves alone what was pushed or deleted here since:
//
//	the tag is absent here, and no import has brought it   it is set
//	it was brought by an import, and is still as it was    it follows the source
//	somebody has pushed it here                            it stays, and is listed
//	somebody has deleted it here                           it stays deleted, and is listed
//
// Content that is damaged or that no registry may accept is left out and named; it never
// ends an import.
package transfer
