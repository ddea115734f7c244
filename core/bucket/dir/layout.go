package dir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	lockFile   = "lock"
	layoutFile = "layout.json"
	cleanFile  = "clean"
	// layoutVersion is the version that this program writes. It is raised when an older program
	// would misread the directory, or this program an older directory.
	layoutVersion = 3
	// oldestLayout is the oldest version that this program can read. Version 1 had a directory
	// for each linked digest; it was never released. Version 2 has the same directories, and
	// the caller that opens a bucket converts its content. The version is raised before that:
	// from the first change on an older program is refused.
	oldestLayout = 2
)

// restoreLayout is the advice to an operator about a damaged layoutFile.
var restoreLayout = fmt.Sprintf(`restore the file from a backup or, if this version of the program used the storage last, write {"version":%d} into it`, layoutVersion)

type layout struct {
	Version int `json:"version"`
}

// Made returns nil if a storage was ever opened in a directory, whole or damaged. Open makes
// one in any directory. Errors: fs.ErrNotExist if there is none, and disk errors.
func Made(path string) error {
	_, err := os.Stat(filepath.Join(path, layoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, locked := os.Stat(filepath.Join(path, lockFile)); locked == nil {
			return nil // Open reports what is wrong
		}
	}
	return err
}

// checkLayout reads the version, and writes it into a new directory. fresh means that the
// directory had neither a version nor buckets: a storage records its version before it has
// buckets.
func (s *Storage) checkLayout() (fresh bool, err error) {
	data, err := s.root.ReadFile(layoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		names, err := s.onDisk()
		if err != nil {
			return false, fmt.Errorf("read storage: %w", err)
		}
		if len(names) > 0 {
			return false, fmt.Errorf("storage %s has content, but its %s is missing, so its version is not known; %s", s.root.Name(), layoutFile, restoreLayout)
		}
		return true, s.writeLayout()
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", layoutFile, err)
	}
	var l layout
	if err := json.Unmarshal(data, &l); err != nil || l.Version < 1 {
		return false, fmt.Errorf("storage %s: %s has no version: this is not a registry's storage, or the file is damaged; if it is damaged, %s", s.root.Name(), layoutFile, restoreLayout)
	}
	if l.Version > layoutVersion {
		return false, fmt.Errorf("storage %s has layout version %d, but this program supports versions up to %d: run the newer program that wrote it, or restore a copy from before the update", s.root.Name(), l.Version, layoutVersion)
	}
	if l.Version < oldestLayout {
		return false, fmt.Errorf("storage %s has layout version %d, which was never released, but this program supports only versions from %d: copy its images into an empty storage with the program that wrote it (skopeo copies from one registry to another)", s.root.Name(), l.Version, oldestLayout)
	}
	if l.Version < layoutVersion {
		s.config.Log.Info("storage has an older layout and is converted; older programs can no longer open it",
			"storage", s.root.Name(), "from", l.Version, "to", layoutVersion)
		return false, s.writeLayout()
	}
	return false, nil
}

func (s *Storage) writeLayout() error {
	data, err := json.Marshal(layout{layoutVersion})
	if err != nil {
		return fmt.Errorf("write %s: %w", layoutFile, err)
	}
	return s.writeDurably(layoutFile, append(data, '\n'))
}

// keepLayout writes the version again if it was damaged or removed while the storage was open:
// otherwise the next start would be refused.
func (s *Storage) keepLayout() error {
	var l layout
	data, err := s.root.ReadFile(layoutFile)
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err == nil && l.Version == layoutVersion {
		return nil
	}
	s.config.Log.Error("storage file was damaged while it was open; written again", "storage", s.root.Name(), "file", layoutFile, "error", err)
	return s.writeLayout()
}

// takeCleanMark reports whether the last stop was clean, and removes the mark durably, so that
// an unclean stop is detected from now on.
func (s *Storage) takeCleanMark() (bool, error) {
	err := s.root.Remove(cleanFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove mark %s: %w", cleanFile, err)
	}
	return true, s.syncDir(s.root, ".")
}

// writeDurably replaces a file in the storage's own directory.
func (s *Storage) writeDurably(name string, data []byte) error {
	tmp := name + ".new"
	f, err := s.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = s.syncData(f)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = s.root.Rename(tmp, name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return s.syncDir(s.root, ".")
}

// probe tests once what durability depends on, because a file system that lacks it does not
// fail later: it loses data.
func (s *Storage) probe() error {
	const name, second = "probe", "probe.link"
	refuse := func(what string, err error) error {
		return fmt.Errorf("storage %s cannot be kept on this file system: %s (%w); choose a directory on a local disk", s.root.Name(), what, err)
	}
	s.root.Remove(name) // both may be left over from a killed process
	s.root.Remove(second)
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return noSpace(fmt.Errorf("write to storage %s: %w", s.root.Name(), err))
	}
	defer s.root.Remove(name)
	f.Close()
	if err := s.root.Link(name, second); err != nil {
		return refuse("it has no hard links", err)
	}
	defer s.root.Remove(second)
	if err := s.root.Link(name, second); !errors.Is(err, fs.ErrExist) {
		return refuse("a hard link replaced a file", fmt.Errorf("got %v, want %v", err, fs.ErrExist))
	}
	when := time.Unix(1_700_000_000, 123_457_000)
	if err := s.root.Chtimes(name, when, when); err != nil {
		return refuse("it does not set file times", err)
	}
	if fi, err := s.root.Lstat(second); err != nil || !fi.ModTime().Equal(when) {
		return refuse("it does not keep file times to the microsecond", err)
	}
	if err := s.syncDir(s.root, "."); err != nil {
		return refuse("it does not sync directories", err)
	}
	return nil
}
