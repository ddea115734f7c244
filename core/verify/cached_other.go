//go:build !linux

package verify

import "os"

func mostlyCached(*os.File, int64) bool { return true }

func forget(*os.File, int64, int64) {}
