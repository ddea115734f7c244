package dir

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// risksAt returns the risks of the file system of a directory.
func risksAt(path string) []string {
	var on unix.Stat_t
	if err := unix.Stat(path, &on); err != nil {
		return nil
	}
	dev := uint64(on.Dev) // a shorter type on some processors
	return risksOf(os.DirFS("/"), fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)))
}
