package artifacts

import (
	"io"
	"strings"
)

// wasmConfig is the type of the config of a WebAssembly artifact
// (https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/).
const wasmConfig = "application/vnd.wasm.config.v0+json"

// IsWasm reports whether an artifact of a type is WebAssembly. That is the type of its config: besides
// that of wasmConfig there are application/vnd.wasm.config.v1+json and
// application/vnd.module.wasm.config.v1+json, which are older and say nothing.
func IsWasm(artifactType string) bool { return strings.Contains(strings.ToLower(artifactType), "wasm") }

// interfaces are the columns of the config of a component.
var interfaces = []string{"Kind", "Interface"}

// readWasmConfig reads what the config of a WebAssembly artifact says. An error is one of r's.
func readWasmConfig(c *Content, r io.Reader, w Window) error {
	c.Kind, c.Format = Wasm, "config"
	platform := map[string]string{}
	err := readMembers(c, r, w, func(d *document, name string) (err error) {
		switch name {
		case "name":
			return d.said("Name")
		case "author":
			return d.said("Made by")
		case "created":
			return d.said("Made")
		case "os", "architecture":
			platform[name], err = d.text()
			return err
		case "component":
			return d.object(d.interfaces)
		}
		return d.skip()
	})
	d := &document{Content: c}
	d.say("Platform", clip(strings.Trim(platform["os"]+"/"+platform["architecture"], "/")))
	return err
}

// interfaces reads what a component offers and needs. Other members of its config, such as the digests
// of layers, are those of the manifest again.
func (d *document) interfaces(name string) error {
	switch name {
	case "exports", "imports":
		d.Columns = interfaces
		word := map[string]string{"exports": "Export", "imports": "Import"}[name]
		return d.array(func() error {
			value, err := d.text()
			if err != nil {
				return err
			}
			return d.row(word, value)
		})
	case "target":
		return d.said("Target")
	}
	return d.skip()
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
