package artifacts_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
)

const wasmConfig = "application/vnd.wasm.config.v0+json"

var wasm = document("wasm")

func TestWebAssemblyIsRead(t *testing.T) {
	const noWasm = "WebAssembly, \n! It does not begin like WebAssembly."
	for _, mediaType := range []string{
		"application/wasm", "application/vnd.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.content.layer.v1+wasm",
		"application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
	} {
		for text, want := range map[string]string{
			"\x00asm\x01\x00\x00\x00\x01": "WebAssembly, module", "\x00asm\x0d\x00\x01\x00": "WebAssembly, component",
			"\x7fELF": noWasm, "": noWasm,
		} {
			c, err := artifacts.Read(mediaType, strings.NewReader(text), artifacts.Window{})
			if got := said(c); err != nil || got != want || !artifacts.Reads(mediaType) {
				t.Errorf("%s: %q: got %q, %v", mediaType, text, got, err)
			}
		}
	}
	for artifactType, want := range map[string]bool{
		wasmConfig: true, "application/vnd.wasm.config.v1+json": true, "application/vnd.module.wasm.config.v1+json": true,
		"application/vnd.WASM.config.v1+json": true, "application/vnd.oci.image.config.v1+json": false, "": false,
	} {
		if got := artifacts.IsWasm(artifactType); got != want {
			t.Errorf("%q: got %t, want %t", artifactType, got, want)
		}
	}
}

func TestConfigsOfWebAssemblyAreRead(t *testing.T) {
	deep := strings.Repeat("[", 5000)
	for name, row := range map[string]struct{ config, want string }{
		"a component": {wasm, "WebAssembly, config\nMade: 2026-11-30T00:00:00Z\nMade by: Erich <erich@example.org>\n" +
			"Target: wasi:http/proxy@0.2.0\nPlatform: wasip2/wasm\n" +
			"Export | wasi:http/incoming-handler@0.2.0\nImport | wasi:io/streams@0.2.0\nImport | wasi:cli/stdout@0.2.0"},
		"a module with a name": {`{"name":"hello","os":"wasip1","architecture":"wasm","layerDigests":[],"component":null}`,
			"WebAssembly, config\nName: hello\nPlatform: wasip1/wasm"},
		"without a target":  {`{"os":"wasip2","component":{"exports":[],"imports":["a"],"target":null}}`, "WebAssembly, config\nPlatform: wasip2\nImport | a"},
		"nothing":           {`{}`, "WebAssembly, config"},
		"an SBOM in it":     {`{"packages":[{"name":"a"}]}`, "WebAssembly, config"},
		"half of it":        {`{"os":"wasip2","component":{"exports":["a`, "WebAssembly, config\nPlatform: wasip2\n! It is not valid JSON from byte 39 on."},
		"other types":       {`{"name":[1],"author":{"a":1},"os":["x"],"component":{"exports":{"a":1},"imports":[[1],{"a":1},2],"target":[]}}`, "WebAssembly, config\nImport | \nImport | \nImport | 2"},
		"5,000 levels":      {`{"component":{"exports":` + deep, "WebAssembly, config\n! It is nested more than 100 levels deep, and is shown up to there."},
		"5,000 other ones":  {`{"x":` + deep, "WebAssembly, config\n! It is nested more than 100 levels deep, and is shown up to there."},
		"a list":            {`[1]`, "WebAssembly, config"},
		"letters not UTF-8": {"{\"name\":\"a\xff\",\"component\":{\"target\":\"b\"}}", "WebAssembly, config\nName: a\ufffd\nTarget: b"},
	} {
		c, err := artifacts.Read(wasmConfig, strings.NewReader(row.config), artifacts.Window{Rows: 50})
		if got := said(c); err != nil || got != row.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, row.want)
		}
	}
}

// However much a config says, a page gets its window of it.
func TestConfigsOfWebAssemblyAreBounded(t *testing.T) {
	long := strings.Repeat("x", 10<<10)
	c, err := artifacts.Read(wasmConfig, strings.NewReader(`{`+strings.Repeat(`"name":"`+long+`",`, 100)+`"os":"`+long+`","architecture":"`+long+`",
		"component":{"exports":[`+strings.Repeat(`"<script>",`, artifacts.MaxRows)+`"last"],"imports":["one more"]}}`), artifacts.Window{From: 7, Rows: 5})
	if err != nil || len(c.Rows) != 5 || c.Total != artifacts.MaxRows || len(c.About) != 40 || !strings.HasPrefix(c.Cut, "It has more than 10000 rows") {
		t.Errorf("got %d rows of %d, %d fields and %q, %v", len(c.Rows), c.Total, len(c.About), c.Cut, err)
	}
	for _, field := range c.About {
		if len(field.Value) > artifacts.MaxText {
			t.Errorf("%s has %d bytes", field.Name, len(field.Value))
		}
	}
	c, err = artifacts.Read(wasmConfig, strings.NewReader(wasm), artifacts.Window{Find: "IMPORT", From: 1, Rows: 5})
	if want := [][]string{{"Import", "wasi:cli/stdout@0.2.0"}}; err != nil || !reflect.DeepEqual(c.Rows, want) || c.Matched != 2 || c.Total != 3 {
		t.Errorf("got %q, %d of %d, %v", c.Rows, c.Matched, c.Total, err)
	}
}

// The config of WebAssembly is a file of the artifact, once and ahead of the layers; that of others is not.
func TestTheConfigOfWebAssemblyIsAFile(t *testing.T) {
	config, layer := digest.FromString("config"), digest.FromString("layer")
	descriptor := func(mediaType string, d digest.Digest) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3}`, mediaType, d)
	}
	layers := `"layers":[` + descriptor("application/wasm", layer) + `]`
	for name, row := range map[string]struct {
		manifest string
		want     []digest.Digest
	}{
		"first":      {`{"config":` + descriptor(wasmConfig, config) + `,` + layers + `}`, []digest.Digest{config, layer}},
		"last":       {`{` + layers + `,"config":` + descriptor(wasmConfig, config) + `}`, []digest.Digest{config, layer}},
		"often":      {`{` + strings.Repeat(`"config":`+descriptor(wasmConfig, config)+`,`, 500) + layers + `}`, []digest.Digest{config, layer}},
		"older":      {`{"config":` + descriptor("application/vnd.wasm.config.v1+json", config) + `,` + layers + `}`, []digest.Digest{layer}},
		"no digest":  {`{"config":` + descriptor(wasmConfig, "sha256:xx") + `,` + layers + `}`, []digest.Digest{layer}},
		"no object":  {`{"config":["x"],` + layers + `}`, []digest.Digest{layer}},
		"of a chart": {`{"config":` + descriptor("application/vnd.cncf.helm.config.v1+json", config) + `,` + layers + `}`, []digest.Digest{layer}},
	} {
		many := strings.Replace(row.manifest, layers, strings.Replace(layers, "[", "["+strings.Repeat(descriptor("x", layer)+",", 200), 1), 1)
		if files, more := artifacts.Files([]byte(many)); len(files) != artifacts.MaxFiles || !more {
			t.Errorf("%s, with 200 layers more: got %d files, more: %t", name, len(files), more)
		}
		files, more := artifacts.Files([]byte(row.manifest))
		var got []digest.Digest
		for _, file := range files {
			got = append(got, file.Digest)
		}
		if more || !reflect.DeepEqual(got, row.want) || files[0].Digest == config && files[0].FileName() != "config.json" {
			t.Errorf("%s: got %+v, want %v", name, files, row.want)
		}
	}
}
