package artifacts_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
)

const chartType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// chart packs files, each a name and its text, as helm does.
func chart(t *testing.T, files ...string) []byte {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	for i := 0; i < len(files); i += 2 {
		header := &tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}
		if text, link := strings.CutPrefix(files[i+1], "-> "); link {
			header.Typeflag, header.Linkname, header.Size, files[i+1] = tar.TypeSymlink, text, 0, ""
		}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

const chartYAML = `apiVersion: v2
name: app
version: 1.2.3
appVersion: "4.5"
description: Serves <b>things</b>
sources: [https://forge.example/app]
maintainers:
  - {name: Ada, email: ada@example.org}
dependencies:
  - {name: redis, version: ^20.0.0, repository: "oci://registry.example/charts", condition: redis.enabled}
`

func TestChartsAreRead(t *testing.T) {
	const want = "Helm chart, Helm v2\nChart: app\nVersion: 1.2.3\nVersion of the application: 4.5\nDescription: Serves <b>things</b>\n" +
		"Source: https://forge.example/app\nMaintainer: Ada ada@example.org\nredis | ^20.0.0 | oci://registry.example/charts | redis.enabled"
	large := strings.Repeat("# filler\n", 8000)
	for _, row := range []struct {
		name, want string
		texts      int
		packed     []byte
	}{
		{"a chart", want, 2, chart(t, "app/Chart.yaml", chartYAML, "app/values.yaml", "a: 1", "app/README.md", "# App")},
		{"only its own Chart.yaml counts", want, 0,
			chart(t, "app/charts/redis/Chart.yaml", "name: redis", "Chart.yaml", "name: none", "app/Chart.yaml", chartYAML, "app/Chart.yaml", "name: second")},
		{"names with dots", want, 0, chart(t, "../../etc/Chart.yaml", "name: none", "./app/Chart.yaml", chartYAML)},
		{"a link", "Helm chart, \n! Its archive has no Chart.yaml.", 0, chart(t, "app/Chart.yaml", "-> /etc/passwd")},
		{"aliases", "Helm chart, \n! Its Chart.yaml has aliases, and is not read.", 0,
			chart(t, "app/Chart.yaml", "name: &n app\nversion: *n\n")},
		{"a bomb of aliases", "Helm chart, \n! Its Chart.yaml has aliases, and is not read.", 0,
			chart(t, "app/Chart.yaml", "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nname: *c\n")},
		{"5,000 levels", "Helm chart, \n! Its Chart.yaml is nested more than 100 levels deep, and is not read.", 0,
			chart(t, "app/Chart.yaml", "name: "+strings.Repeat("[", 5000)+strings.Repeat("]", 5000))},
		{"no YAML", "Helm chart, \n! Its Chart.yaml is not YAML.", 0, chart(t, "app/Chart.yaml", "a: [")},
		{"a list", "Helm chart, Helm", 0, chart(t, "app/Chart.yaml", "- name: app")},
		{"members of other types", "Helm chart, Helm", 0,
			chart(t, "app/Chart.yaml", "name: {a: 1}\nsources: x\nmaintainers: {a: b}\ndependencies: 3\n")},
		{"a large Chart.yaml", "Helm chart, \n! Its Chart.yaml is larger than 64 KiB, and is not read.", 0,
			chart(t, "app/Chart.yaml", chartYAML+large)},
		{"a large README", want, 1, chart(t, "app/Chart.yaml", chartYAML, "app/README.md", large)},
		{"no archive", "Helm chart, \n! Its archive is not a tar with gzip.", 0, []byte("hello")},
		{"half of an archive", "Helm chart, \n! Its archive is not a tar with gzip.", 0,
			chart(t, "app/Chart.yaml", chartYAML)[:60]},
		{"16 MiB that are nothing when packed", "Helm chart, \n! Its archive is larger than 16 MiB, of which the first are read.", 0,
			chart(t, "app/templates/x", strings.Repeat("\x00", 17<<20), "app/Chart.yaml", chartYAML)},
	} {
		c, err := artifacts.Read(chartType, bytes.NewReader(row.packed), artifacts.Window{Rows: 50})
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if got := said(c); got != row.want || len(c.Texts) != row.texts {
			t.Errorf("%s: got %d texts and\n%s\nwant\n%s", row.name, len(c.Texts), got, row.want)
		}
		for _, text := range c.Texts {
			if len(text.Value) > artifacts.MaxChart+1 {
				t.Errorf("%s: %s has %d bytes", row.name, text.Name, len(text.Value))
			}
		}
	}
}
