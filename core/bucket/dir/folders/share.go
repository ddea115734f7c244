package folders

import "os"

// LinkFile gives an open file, which may be outside of the tree, another name. It names the file
// that is open, whatever its path leads to by now. Errors: errors.ErrUnsupported and those of
// link(2), as for another file system.
func (t *Tree) LinkFile(f *os.File, to string) error {
	return t.at("link", to, func(dir int, name string) error { return linkFile(int(f.Fd()), dir, name) })
}

// CloneFile makes a new file that shares the blocks of an open file, until one of the two is
// written to. Errors: errors.ErrUnsupported and those of the system, on a file system that cannot
// do this.
func (t *Tree) CloneFile(f *os.File, to string) error {
	return t.at("clone", to, func(dir int, name string) error { return cloneFile(int(f.Fd()), dir, name) })
}
