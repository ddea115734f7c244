// Package zot reads the directory of a zot registry as a transfer.Source: repositories as
// OCI layouts, and what zot's meta.db knows about pushes, pulls and API keys. It is made
// for zot 2.1, whose files it describes where it reads them.
//
// The directory is strangers' content. It is never written to, no symbolic link is
// followed, only regular files are opened, and everything that is read whole has a bound.
// zot must be stopped: it locks meta.db, and writes manifests in place.
package zot
