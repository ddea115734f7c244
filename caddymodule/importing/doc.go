// Package importing is `registry import`: the order that the command gives to the process
// that has the storage open, its execution, and its report to a person or a program.
// The work itself is core/transfer's. It knows no Caddy.
//
// An order is answered by a stream of JSON lines: an Item for each tag and manifest, and
// last the Result.
package importing
