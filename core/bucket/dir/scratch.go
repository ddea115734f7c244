package dir

import (
	"os"
	"strconv"

	"github.com/eblume/caddy-registry/core/bucket"
)

var _ bucket.Scratch = (*Bucket)(nil)

// Scratch implements bucket.Scratch. The file's name is removed at once, so that the file does
// not survive the process.
func (b *Bucket) Scratch() (bucket.ScratchFile, error) {
	tmp := tmpDir + "/" + strconv.FormatUint(b.names.Add(1), 36)
	f, err := b.folders.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, writeError("scratch", tmp, err)
	}
	if err := b.folders.Remove(tmp); err != nil {
		f.Close()
		return nil, writeError("scratch", tmp, err)
	}
	return f, nil
}
