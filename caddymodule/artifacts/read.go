package artifacts

import (
	"io"
	"strings"
)

// Reads reports whether Read knows files of a media type.
func Reads(mediaType string) bool { return readerOf(mediaType) != nil }

// Largest is the size up to which a file of a media type is worth reading, in bytes.
func Largest(mediaType string) int64 {
	if strings.HasSuffix(mediaType, "json") {
		return MaxDocument
	}
	return MaxArchive
}

// Read reads a file of an artifact. Errors: those of r. What is wrong with the file itself is in
// Content.Cut.
func Read(mediaType string, r io.Reader, w Window) (Content, error) {
	var c Content
	read := readerOf(mediaType)
	if read == nil {
		return c, nil
	}
	err := read(&c, r, w)
	return c, err
}

func readerOf(mediaType string) func(*Content, io.Reader, Window) error {
	essence, _, _ := strings.Cut(strings.ToLower(mediaType), ";")
	switch essence = strings.TrimSpace(essence); {
	case essence == "application/vnd.cncf.helm.chart.content.v1.tar+gzip":
		return readChart
	case essence == "application/wasm", strings.HasSuffix(essence, "+wasm"):
		return readWasm
	case essence == wasmConfig:
		return readWasmConfig
	case strings.HasSuffix(essence, "+json"), essence == "application/json", essence == "application/jose":
		return readJSON
	}
	return nil
}
