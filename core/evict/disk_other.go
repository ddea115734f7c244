//go:build !linux && !darwin

package evict

// DiskOf is the disk that the directory lies on. On this system nothing is known of it.
func DiskOf(string) Disk { return noDisk{} }
