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
	case essence == "application/wasm", essence == "application/vnd.wasm.content.layer.v1+wasm",
		essence == "application/vnd.module.wasm.content.layer.v1+wasm":
		return readWasm
	case strings.HasSuffix(essence, "+json"), essence == "application/json", essence == "application/jose":
		return readJSON
	}
	return nil
}

// readWasm reads the first bytes of a WebAssembly file (WebAssembly core specification, clause
// 5.5.16, and the component model's Binary.md).
func readWasm(c *Content, r io.Reader, _ Window) error {
	var head [8]byte
	c.Kind = Wasm
	n, err := io.ReadFull(r, head[:])
	switch string(head[:n]) {
	case "\x00asm\x01\x00\x00\x00":
		c.Format = "module"
	case "\x00asm\x0d\x00\x01\x00":
		c.Format = "component"
	default:
		c.Cut = "It does not begin like WebAssembly."
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return err
}
