package pages_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

// webAssembly returns a registry with a WebAssembly artifact that has this config.
func webAssembly(configType, config, layerType string) *artifact {
	a := shelve([3]string{"", layerType, "\x00asm\x0d\x00\x01\x00"})
	var m ocispec.Manifest
	if err := json.Unmarshal(a.manifest, &m); err != nil {
		panic(err)
	}
	d := digest.FromString(config)
	a.files[d] = config
	m.ArtifactType, m.Config = "", ocispec.Descriptor{MediaType: configType, Digest: d, Size: int64(len(config))}
	a.manifest, _ = json.Marshal(m)
	a.row.Digest, a.row.ArtifactType = digest.FromBytes(a.manifest), configType
	a.row.Platforms = []core.PlatformRow{{Platform: "wasip2/wasm"}}
	return a
}

func TestWebAssemblyIsShownAsWhatItIs(t *testing.T) {
	const today = "application/vnd.wasm.config.v0+json"
	for name, row := range map[string]struct {
		artifact *artifact
		has      []string
		lacks    string
	}{
		"a component": {
			webAssembly(today, `{"author":"Erich","os":"wasip2","architecture":"wasm","component":{"exports":["wasi:http/incoming-handler@0.2.0"],
				"imports":["wasi:io/streams@0.2.0"],"target":"wasi:http/proxy@0.2.0"}}`, "application/wasm"),
			[]string{
				"config.json application/vnd.wasm.config.v0+json", "WebAssembly config", "Made by Erich", "Target wasi:http/proxy@0.2.0",
				"Platform wasip2/wasm", "Export wasi:http/incoming-handler@0.2.0", "Import wasi:io/streams@0.2.0", "WebAssembly component",
			}, "docker pull",
		},
		"a hostile one": {
			webAssembly(today, `{"author":"<img src=x onerror=alert(1)>\u202e","component":{"exports":["<script>alert(1)</script>"]}}`, "application/wasm"),
			[]string{`&lt;img src=x onerror=alert(1)&gt; \u202e`, "Export &lt;script&gt;alert(1)"}, "<img",
		},
		"a large one": {
			webAssembly(today, `{"component":{"imports":["`+strings.Repeat(strings.Repeat("x", 5000)+`","`, 500)+`"]}}`, "application/wasm"),
			[]string{"Import xxxx", "of 501", "Next →"}, "",
		},
		"an older one": {
			webAssembly("application/vnd.wasm.config.v1+json", "{}", "application/vnd.wasm.content.layer.v1+wasm"),
			[]string{"WebAssembly component", "Type application/vnd.wasm.config.v1+json"}, "config.json",
		},
		"one whose layer has another type": {
			webAssembly("application/vnd.wasm.config.v1+json", "{}", "application/octet-stream"),
			[]string{"Private WebAssembly", "Files"}, "docker pull",
		},
	} {
		answer, log := openAt(row.artifact, row.artifact.path())
		if answer.Code != http.StatusOK || answer.Body.Len() > 100_000 {
			t.Errorf("%s: got %d with %d bytes: %s", name, answer.Code, answer.Body.Len(), log)
		}
		text := visible(answer)
		for _, has := range row.has {
			if !strings.Contains(text, has) {
				t.Errorf("%s: the page lacks %q:\n%s", name, has, text)
			}
		}
		if row.lacks != "" && strings.Contains(answer.Body.String(), row.lacks) {
			t.Errorf("%s: the page has %q", name, row.lacks)
		}
	}
}
