package artifacts_test

import (
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
)

// The documents of testdata, as the tools that their names say write them.
var (
	//go:embed testdata
	testdata embed.FS

	spdx, cyclonedx, syft   = document("spdx"), document("cyclonedx"), document("syft")
	provenance, provenance1 = document("provenance"), document("provenance1")
	vex, signature          = document("vex"), document("signature")
)

func document(name string) string {
	data, err := testdata.ReadFile("testdata/" + name + ".json")
	if err != nil {
		panic(err) // it is embedded
	}
	return string(data)
}

func envelope(payload string) string {
	return `{"payloadType":"application/vnd.in-toto+json","payload":"` + base64.StdEncoding.EncodeToString([]byte(payload)) + `","signatures":[{"sig":"AA"}]}`
}

// said writes a Content on a few lines.
func said(c artifacts.Content) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s", c.Kind, c.Format)
	for _, f := range c.About {
		fmt.Fprintf(&b, "\n%s: %s", f.Name, f.Value)
	}
	for _, row := range c.Rows {
		fmt.Fprintf(&b, "\n%s", strings.Join(row, " | "))
	}
	if c.Cut != "" {
		fmt.Fprintf(&b, "\n! %s", c.Cut)
	}
	return b.String()
}

func TestDocumentsAreRead(t *testing.T) {
	const inSPDX = "SBOM, SPDX-2.3\nMade: 2026-11-30T00:00:00Z\nMade by: Tool: syft\nmusl | 1.2.5-r9 | MIT | pkg:apk/alpine/musl@1.2.5-r9\nbusybox | 1.36 | GPL-2.0-only | "
	for _, row := range []struct{ name, document, want string }{
		{"SPDX", spdx, inSPDX},
		{"CycloneDX",
			cyclonedx, "SBOM, CycloneDX 1.6\nMade: 2026-11-30\nOf: app\nVersion: v1\ninner | 1 | MIT OR Apache-2.0 | \n@types/node | 20 | MIT, Own | pkg:npm/%40types/node@20"},
		{"Syft", syft, "SBOM, Syft\nzlib | 1.3 | Zlib, MIT | pkg:deb/zlib@1.3"},
		{"SLSA 0.2 with its members in the order of the alphabet",
			provenance, "Provenance, \nBuilder: https://ci.example/1\nKind of build: https://mobyproject.org/buildkit@v1\n" +
				"entryPoint: Dockerfile\nBuild started: 2026-11-30\nRevision: 1a2b\nSource: https://forge.example/app\nStatement: https://slsa.dev/provenance/v0.2\nAbout: app sha256:cd\npkg:docker/alpine@3.20 | sha256:ab"},
		{"SLSA 1",
			provenance1, "Provenance, \nStatement: https://slsa.dev/provenance/v1\nKind of build: https://actions.github.io/buildtypes/workflow/v1\nworkflow.ref: refs/heads/main\n" +
				"Builder: https://github.com/actions/runner\nBuild: 7\nsrc | gitCommit:1a2b"},
		{"OpenVEX", vex, "VEX, \nCVE-1 | pkg:oci/app | not_affected | component_not_present\nCVE-2 |  | fixed | "},
		{"a simple signature", signature, "Signature, \nSigns: registry.example/app\nDigest: sha256:ab"},
		{"an SBOM in a statement",
			`{"predicateType":"https://spdx.dev/Document","predicate":` + spdx + `}`, strings.Replace(inSPDX, "\n", "\nStatement: https://spdx.dev/Document\n", 1)},
		{"a statement in an envelope", envelope(`{"predicate":` + spdx + `}`), inSPDX},
		{"an envelope in a bundle", `{"verificationMaterial":{},"dsseEnvelope":` + envelope(spdx) + `}`, inSPDX},
		{"an unknown statement",
			`{"predicateType":"https://example.org/own","predicate":{"a":1}}`, "Attestation, \nStatement: https://example.org/own"},
		{"something else", `{"hello":["world"]}`, ", "},
		{"a list", `[{"packages":[{"name":"a"}]}]`, ", "},
		{"nothing", "", ", \n! It is not valid JSON from byte 0 on."},
		{"half of a document",
			spdx[:strings.LastIndex(spdx, "1.36")], strings.Replace(inSPDX, "\nbusybox | 1.36 | GPL-2.0-only | ", "", 1) + "\n! It is not valid JSON from byte 584 on."},
		{"an opaque payload", `{"payload":"%%%"}`, ", "},
		{"a payload that is not JSON", envelope(`{"a":`), ", \n! What it has as its payload is not valid JSON."},
		{"members of other types",
			`{"packages":{"a":1},"creationInfo":[1,{"created":2}],"subject":"x","predicate":3,"payload":{"a":[]},"header":null,"materials":7}`, "SBOM, "},
		{"packages of other types",
			`{"packages":[1,"a",[2],{"name":{"a":1},"versionInfo":["x"],"externalRefs":{"a":1},"licenseConcluded":true}]}`, "SBOM, \n |  |  | \n |  |  | \n |  |  | \n |  | true | "},
	} {
		c, err := artifacts.Read("application/json", strings.NewReader(row.document), artifacts.Window{Rows: 50})
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if got := said(c); got != row.want {
			t.Errorf("%s: got\n%s\nwant\n%s", row.name, got, row.want)
		}
	}
}

// packages is an SBOM with n packages, each with pad behind its name.
func packages(n int, pad string) io.Reader {
	var readers []io.Reader
	readers = append(readers, strings.NewReader(`{"packages":[`))
	for i := range n {
		comma := ","
		if i == 0 {
			comma = ""
		}
		readers = append(readers, strings.NewReader(fmt.Sprintf(`%s{"name":"p%05d%s","versionInfo":"%d"}`, comma, i, pad, i%7)))
	}
	return io.MultiReader(append(readers, strings.NewReader("]}"))...)
}

func TestWindowOfRows(t *testing.T) {
	for _, row := range []struct {
		window         artifacts.Window
		packages       int
		first, last    string
		matched, total int
		cut            bool
	}{
		{artifacts.Window{Rows: 3}, 100, "p00000", "p00002", 100, 100, false},
		{artifacts.Window{From: 98, Rows: 3}, 100, "p00098", "p00099", 100, 100, false},
		{artifacts.Window{From: 500, Rows: 3}, 100, "", "", 100, 100, false},
		{artifacts.Window{Find: "P0001", Rows: 3}, 100, "p00010", "p00012", 10, 100, false},
		{artifacts.Window{Find: "p0001", From: 8, Rows: 3}, 100, "p00018", "p00019", 10, 100, false},
		{artifacts.Window{Rows: 1}, artifacts.MaxRows, "p00000", "p00000", artifacts.MaxRows, artifacts.MaxRows, false},
		{artifacts.Window{From: artifacts.MaxRows - 1, Rows: 9}, artifacts.MaxRows + 1, "p09999", "p09999", artifacts.MaxRows, artifacts.MaxRows, true},
	} {
		c, err := artifacts.Read("application/spdx+json", packages(row.packages, ""), row.window)
		if err != nil {
			t.Fatal(err)
		}
		first, last := "", ""
		if len(c.Rows) > 0 {
			first, last = c.Rows[0][0], c.Rows[len(c.Rows)-1][0]
		}
		if first != row.first || last != row.last || c.Matched != row.matched || c.Total != row.total || (c.Cut != "") != row.cut {
			t.Errorf("%+v: got %q to %q, %d of %d, %q", row.window, first, last, c.Matched, c.Total, c.Cut)
		}
	}
}

// A document takes no more memory than its window, and no text is longer than allowed.
func TestHostileDocuments(t *testing.T) {
	deep := strings.Repeat(`{"predicate":`, 5000)
	nested := spdx
	for range 10 {
		nested = envelope(nested)
	}
	for _, row := range []struct {
		name string
		r    io.Reader
		cut  string
	}{
		{"5,000 levels of objects", strings.NewReader(deep), "It is nested more than 100 levels"},
		{"5,000 levels that are passed over",
			strings.NewReader(`{"x":` + strings.Repeat("[", 5000)), "It is nested more than 100 levels"},
		{"5,000 levels of components",
			strings.NewReader(strings.Repeat(`{"components":[`, 5000)), "It is nested more than 100 levels"},
		{"5,000 levels of parameters",
			strings.NewReader(`{"invocation":{"parameters":` + strings.Repeat(`{"a":`, 5000)), "It is nested more than 100 levels"},
		{"5,000 levels in a payload", strings.NewReader(envelope(deep)), "It is nested more than 100 levels"},
		{"4 MiB of brackets",
			strings.NewReader(strings.Repeat("[", artifacts.MaxDocument)), "It is nested more than 100 levels"},
		{"16 MiB of packages with long names", packages(1600, strings.Repeat("x", 10<<10)), "It is larger than 4 MiB"},
		{"a text of 16 MiB",
			strings.NewReader(`{"spdxVersion":"` + strings.Repeat("x", 16<<20)), "It is larger than 4 MiB"},
		{"a million licences",
			strings.NewReader(`{"components":[{"licenses":[` + strings.Repeat(`"MIT",`, 1e5) + `"MIT"]}]}`), ""},
		{"a million subjects", strings.NewReader(`{"subject":[` + strings.Repeat(`{"name":"a"},`, 1e5) + `{}]}`), ""},
		{"a certificate of 1 MiB", strings.NewReader(`{"header":{"x5c":["` + strings.Repeat("AAAA", 1<<18) + `"]}}`), ""},
		{"envelopes in envelopes", strings.NewReader(nested), ""},
		{"script and right-to-left",
			strings.NewReader(`{"packages":[{"name":"<script>alert(1)</script>\u202e\ud800"}]}`), ""},
	} {
		c, err := artifacts.Read("application/json", row.r, artifacts.Window{Rows: 50})
		if err != nil || !strings.HasPrefix(c.Cut, row.cut) || row.cut == "" && c.Cut != "" {
			t.Errorf("%s: got %q, %v, want %q", row.name, c.Cut, err, row.cut)
		}
		texts := []string{c.Kind, c.Format}
		for _, f := range c.About {
			texts = append(texts, f.Name, f.Value)
		}
		for _, row := range c.Rows {
			texts = append(texts, row...)
		}
		if len(c.Rows) > 50 || len(c.About) > 40 {
			t.Errorf("%s: %d rows, %d fields", row.name, len(c.Rows), len(c.About))
		}
		for _, text := range texts {
			if len(text) > artifacts.MaxText || strings.ToValidUTF8(text, "?") != text {
				t.Errorf("%s: a text has %d bytes", row.name, len(text))
			}
		}
	}
}

func TestErrorsOfTheStorageArePassedOn(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for _, mediaType := range []string{"application/json", "application/wasm", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"} {
		_, err := artifacts.Read(mediaType, io.MultiReader(strings.NewReader("{"), iotest.ErrReader(broken)), artifacts.Window{})
		if !errors.Is(err, broken) {
			t.Errorf("%s: got %v", mediaType, err)
		}
	}
}

func TestWhatIsRead(t *testing.T) {
	for mediaType, want := range map[string]bool{
		"application/spdx+json": true, "text/spdx+json; version=2.3": true, "application/vnd.CycloneDX+JSON": true, "application/vnd.in-toto+json": true,
		"application/vnd.dev.sigstore.bundle.v0.3+json": true, "application/jose+json": true,
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip": true,
		"application/octet-stream":                            false, "application/vnd.oci.image.layer.v1.tar+gzip": false, "text/plain": false, "": false,
	} {
		if got := artifacts.Reads(mediaType); got != want {
			t.Errorf("%q: got %t", mediaType, got)
		}
		if c, err := artifacts.Read(mediaType, strings.NewReader("x"), artifacts.Window{}); !want && (err != nil || !reflect.DeepEqual(c, artifacts.Content{})) {
			t.Errorf("%q: got %+v, %v", mediaType, c, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{spdx, cyclonedx, syft, provenance, provenance1, vex, signature, envelope(spdx), wasm, spdx3} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, mediaType := range []string{"application/json", wasmConfig} {
			c, err := artifacts.Read(mediaType, strings.NewReader(text), artifacts.Window{Rows: 5})
			if err != nil || len(c.Rows) > 5 || c.Matched > c.Total {
				t.Errorf("%s: got %+v, %v", mediaType, c, err)
			}
		}
	})
}
