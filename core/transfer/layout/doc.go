// Package layout reads OCI image layouts (image-spec, image-layout.md): a directory or a tar
// archive that is one, as a transfer.Source, and, for package zot, directories that have many.
//
// The directory is somebody else's. It is only read, no symbolic link is followed, no fifo and
// no device is opened, and files are read up to a bound.
package layout
