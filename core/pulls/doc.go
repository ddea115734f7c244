// Package pulls records how often manifests and tags were pulled, and when and by whom last. The
// evictor uses these times, and so does the collector for untagged manifests. Pages show the rest.
//
// A pull is marked in memory, without I/O. Every half minute the marks of a repository
// are written to a separate object, one for each repository, day and process:
//
//	<prefix><repo>/_days/<day>+<process>   counts and last pulls of one day (UTC)
//	<prefix><repo>/_pulls                  the folded days: all days that are over
//
// Only one process writes a day's object, so it is put whole and never read first; several
// processes may share a bucket. Fold adds the days that are over to the one record of the
// repository and removes their objects. Only the collector and the evictor fold, and only one
// process at a time may. Import adds the times of another registry to that record.
//
// These are statistics: a kill loses half a minute of them, a power cut perhaps more,
// and a damaged object is started anew.
package pulls
