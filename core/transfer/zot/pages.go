package zot

import (
	"encoding/binary"
	"fmt"
	"io"
)

// maxHeight bounds the pages from the root of a bucket to a leaf. Each level has room for
// dozens of pages, so a real one has a few.
const maxHeight = 64

const (
	// Each page begins with its number, flags, the number of elements, and how many pages
	// follow as part of it (bbolt's internal/common/page.go).
	pageHeader = 16
	branchPage = 1
	leafPage   = 2
	// An element of a branch is the position and the size of a key, and the page below.
	branchElement = 16
)

// pages walks below the roots of buckets before bbolt does. bbolt follows a branch that leads
// back to itself until its stack is full, and no recover stops that.
type pages struct {
	file  io.ReaderAt
	size  int64  // of a page
	count uint64 // of the pages in the file
	seen  map[uint64]bool
}

// walk reads the branches below a page. Errors: errDamaged, and those of reading.
func (p *pages) walk(page uint64, height int) error {
	switch {
	case page >= p.count:
		return fmt.Errorf("%w: page %d is behind the end", errDamaged, page)
	case p.seen[page] || height > maxHeight:
		return fmt.Errorf("%w: page %d is below itself", errDamaged, page)
	}
	p.seen[page] = true
	var header [pageHeader]byte
	at := int64(page) * p.size
	if _, err := p.file.ReadAt(header[:], at); err != nil {
		return fmt.Errorf("%w: page %d: %w", errDamaged, page, err)
	}
	switch flags := binary.NativeEndian.Uint16(header[8:]); flags {
	case leafPage:
		return nil
	case branchPage:
	default:
		return fmt.Errorf("%w: page %d has flags %#x", errDamaged, page, flags)
	}
	elements := make([]byte, branchElement*int(binary.NativeEndian.Uint16(header[10:])))
	if _, err := p.file.ReadAt(elements, at+pageHeader); err != nil {
		return fmt.Errorf("%w: page %d: %w", errDamaged, page, err)
	}
	for ; len(elements) > 0; elements = elements[branchElement:] {
		if err := p.walk(binary.NativeEndian.Uint64(elements[8:]), height+1); err != nil {
			return err
		}
	}
	return nil
}
