package artifacts_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/caddymodule/artifacts"
)

var spdx3 = document("spdx3")

// rows are those of the document spdx3.
var rows = []string{
	"musl | 1.2.5-r9 | MIT | pkg:apk/alpine/musl@1.2.5-r9",
	"busybox | 1.36 | GPL-2.0-only AND BSD-3-Clause | pkg:apk/alpine/busybox@1.36",
	"own | 7 | Own licence | ", "bare |  |  | ",
}

func TestSPDX3IsRead(t *testing.T) {
	all := "SBOM, SPDX-3.0.1\nMade: 2026-11-30T00:00:00Z\nOf: app\n" + strings.Join(rows, "\n")
	half := spdx3[:strings.Index(spdx3, `"1.36"}`)]
	for name, row := range map[string]struct{ document, want string }{
		"a document": {spdx3, all},
		"in a statement": {
			`{"predicateType":"https://spdx.dev/Document/v3","predicate":` + spdx3 + `}`,
			strings.Replace(all, "\n", "\nStatement: https://spdx.dev/Document/v3\n", 1),
		},
		"in an envelope":        {envelope(spdx3), all},
		"half of it":            {half, "SBOM, SPDX-3.0.1\nMade: 2026-11-30T00:00:00Z\nOf: app\n" + rows[0] + "\n! It is not valid JSON from byte 1232 on."},
		"without a package":     {`{"@context":"https://spdx.org/rdf/3.0.0/spdx-context.jsonld","@graph":[]}`, "SBOM, SPDX-3.0.0"},
		"its context last":      {`{"@graph":[{"@type":"software_Package","@id":"a","name":"b"}],"@context":"https://spdx.org/rdf/3.0.1/x"}`, "SBOM, SPDX-3.0.1\nb |  |  | "},
		"another graph":         {`{"@context":"https://schema.org","@graph":[{"@type":"Person","name":"Ada"}]}`, ", "},
		"a context as a list":   {`{"@context":["https://spdx.org/rdf/3.0.1/x",{"a":1}],"@graph":{"a":1}}`, ", "},
		"elements of no type":   {`{"@graph":[1,"a",[{"type":"software_Package"}],null,{},{"type":["software_Package"]}]}`, ", "},
		"members of other ones": {`{"@graph":[{"type":"software_Package","spdxId":{"a":1},"name":[1],"externalIdentifier":{"a":1},"to":{"a":[]}}]}`, "SBOM, \n |  |  | "},
		"5,000 levels":          {`{"@graph":[` + strings.Repeat(`{"to":[`, 5000), ", \n! It is nested more than 100 levels deep, and is shown up to there."},
	} {
		c, err := artifacts.Read("application/spdx+json", strings.NewReader(row.document), artifacts.Window{Rows: 50})
		if got := said(c); err != nil || got != row.want {
			t.Errorf("%s: got\n%s, %v\nwant\n%s", name, got, err, row.want)
		}
	}
}

// Elements come in any order.
func TestTheOrderOfElementsDoesNotMatter(t *testing.T) {
	var whole struct {
		Graph []json.RawMessage `json:"@graph"`
	}
	if err := json.Unmarshal([]byte(spdx3), &whole); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		rng.Shuffle(len(whole.Graph), func(i, j int) { whole.Graph[i], whole.Graph[j] = whole.Graph[j], whole.Graph[i] })
		data, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		c, err := artifacts.Read("application/json", strings.NewReader(string(data)), artifacts.Window{Rows: 50})
		var got []string
		for _, row := range c.Rows {
			got = append(got, strings.Join(row, " | "))
		}
		slices.Sort(got)
		if want := slices.Sorted(slices.Values(rows)); err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %q, %v, want %q of %s", got, err, want, data)
		}
	}
}

func TestTheWindowOfSPDX3(t *testing.T) {
	for _, row := range []struct {
		window  artifacts.Window
		want    string
		matched int
	}{
		{artifacts.Window{From: 1, Rows: 1}, rows[1], 4},
		{artifacts.Window{Find: "BUSYBOX", Rows: 5}, rows[1], 1},
		{artifacts.Window{Find: "own", Rows: 5}, rows[2], 1},
	} {
		c, err := artifacts.Read("application/json", strings.NewReader(spdx3), row.window)
		if err != nil || len(c.Rows) != 1 || strings.Join(c.Rows[0], " | ") != row.want || c.Matched != row.matched || c.Total != 4 {
			t.Errorf("%+v: got %q, %d of %d, %v", row.window, c.Rows, c.Matched, c.Total, err)
		}
	}
	var many strings.Builder
	for n := range artifacts.MaxRows + 5 {
		fmt.Fprintf(&many, `{"type":"Relationship","relationshipType":"hasDeclaredLicense","from":"%d","to":["https://spdx.org/licenses/%s"]},`, n, strings.Repeat("x", n%20))
		fmt.Fprintf(&many, `{"type":"software_Package","spdxId":"%d","name":"<script>"},`, n)
	}
	c, err := artifacts.Read("application/json", strings.NewReader(`{"@graph":[`+many.String()+`{}]}`), artifacts.Window{From: 10, Rows: 2})
	want := [][]string{{"<script>", "", strings.Repeat("x", 10), ""}, {"<script>", "", strings.Repeat("x", 11), ""}}
	if err != nil || !reflect.DeepEqual(c.Rows, want) || c.Total != artifacts.MaxRows || !strings.HasPrefix(c.Cut, "It has more than 10000 rows") {
		t.Errorf("got %q of %d, %q, %v", c.Rows, c.Total, c.Cut, err)
	}
}
