package evict

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// Disk is where mirrors keep content.
type Disk interface {
	// Space returns the size of the disk and how much may still be written, in bytes.
	Space() (free, total int64, err error)
}

// noDisk is a disk whose space is unknown: mirrors keep content until it is full, and then serve
// without keeping.
type noDisk struct{}

func (noDisk) Space() (free, total int64, err error) { return 0, 0, errors.ErrUnsupported }

// MinFree is how much of a disk mirrors leave free.
type MinFree struct {
	// Percent of the disk, but at most 50 GiB. Zero: Bytes holds.
	Percent float64
	// Bytes is an amount. Zero: mirrors may fill the disk.
	Bytes int64
}

// maxMinFree is the most that a percentage keeps free: on a large disk 5 % is more than any
// single write needs.
const maxMinFree = 50 << 30

// DefaultMinFree is what is left free by default.
var DefaultMinFree = MinFree{Percent: 5}

// ParseMinFree reads an amount such as 5%, 10GiB, or 0.
func ParseMinFree(text string) (MinFree, error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !(percent >= 0 && percent < 100) {
			return MinFree{}, fmt.Errorf("%q is not a percentage below 100", text)
		}
		return MinFree{Percent: percent}, nil
	}
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes > math.MaxInt64 {
		return MinFree{}, fmt.Errorf("%q is neither a percentage such as 5%% nor a size such as 10GiB", text)
	}
	return MinFree{Bytes: int64(bytes)}, nil
}

// Of is the amount on a disk of that size.
func (m MinFree) Of(total int64) int64 {
	if m.Percent > 0 {
		return min(int64(float64(total)*m.Percent/100), maxMinFree)
	}
	return m.Bytes
}
