//go:build !linux && !darwin

package evict

// DiskOf returns the disk of the directory. On this system its space is unknown.
func DiskOf(string) Disk { return noDisk{} }
