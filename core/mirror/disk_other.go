//go:build !linux && !darwin

package mirror

import "errors"

// DiskOf is the disk that the directory lies on. On this system nothing is known of
// it: mirrors keep until the disk is full, and serve on without keeping.
func DiskOf(string) Disk { return disk{} }

type disk struct{}

func (disk) Space() (free, total int64, err error) {
	return 0, 0, errors.ErrUnsupported
}
