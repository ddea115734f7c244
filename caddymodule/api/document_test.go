package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The document has the routes, with their methods and parameters, and besides them only those of
// the keys. The answers are compared with it in integration/api.
func TestTheDocumentHasTheRoutes(t *testing.T) {
	type parameter struct {
		Name, In string
		Ref      string `json:"$ref"`
	}
	type operation struct{ Parameters []parameter }
	var doc struct {
		Paths      map[string]map[string]operation
		Components struct{ Parameters map[string]parameter }
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	for _, route := range routes {
		found := doc.Paths[route.path]
		want := map[string][]string{"get": route.query}
		if route.delete != nil {
			want["delete"] = route.deleteQuery
		}
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%s: the document has %q, want %q", route.path, got, slices.Sorted(maps.Keys(want)))
		}
		for method, query := range want {
			var got []string
			for _, p := range found[method].Parameters {
				if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
					p = doc.Components.Parameters[name]
				}
				switch {
				case p.In == "query":
					got = append(got, p.Name)
				case p.In != "path" || !strings.Contains(route.path, "{"+p.Name+"}"):
					t.Errorf("%s: the document has a parameter %+v", route.path, p)
				}
			}
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(query)); !slices.Equal(got, want) {
				t.Errorf("%s %s: the document has the parameters %q, want %q", method, route.path, got, want)
			}
		}
		delete(doc.Paths, route.path)
	}
	for path := range doc.Paths {
		if path != "/api/keys" && path != "/api/keys/{id}" {
			t.Errorf("the document has %s, which is not a route", path)
		}
	}
}
