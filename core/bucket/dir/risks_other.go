//go:build !linux

package dir

// risksAt returns nothing: it is implemented on Linux only.
func risksAt(string) []string { return nil }
