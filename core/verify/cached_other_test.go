//go:build !linux

package verify_test

import (
	"os"
	"testing"
)

func cached(*os.File) (pages uint64, ok bool) { return 0, false }

func evict(*testing.T, *os.File) bool { return false }
