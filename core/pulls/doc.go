// Package pulls remembers how often and when manifests and tags were last pulled: what
// bounds an eviction, and what keeps an untagged manifest from the collector.
//
// A pull is marked in memory, without I/O. Every half minute the marks of a repository
// go into an object of their own, one for each repository, day and process:
//
//	<prefix><repo>/_days/<day>+<process>   counts and last times of one day (UTC)
//	<prefix><repo>/_pulls                  what was folded: all days that are over
//
// Nobody else writes a day's object, so it is put whole and never read first; several
// processes may share a bucket. Fold adds the days that are over to the one record of
// the repository and removes their objects. Only the collector and the evictor fold, and
// only one process at a time may. Import adds to that record what another registry knows.
//
// These are statistics: a kill loses half a minute of them, a power cut perhaps more,
// and a damaged object is begun again.
package pulls
