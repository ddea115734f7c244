package graph_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core/graph"
)

func of(name string) digest.Digest { return digest.FromString(name) }

// text writes <name> as the digest of name.
func text(document string) []byte {
	for {
		before, rest, ok := strings.Cut(document, "<")
		if !ok {
			return []byte(document)
		}
		name, after, _ := strings.Cut(rest, ">")
		document = before + string(of(name)) + after
	}
}

func TestNamed(t *testing.T) {
	for _, row := range []struct {
		name, document string
		want           []string
	}{
		{"config and layers", `{"config":{"digest":"<c>"},"layers":[{"size":1,"digest":"<l>"},{"digest" : "<m>"}]}`, []string{"c", "l", "m"}},
		{"manifests of an index, and a subject", `{"manifests":[{"digest":"<a>"}],"subject":{"digest":"<s>"}}`, []string{"a", "s"}},
		{"members of both kinds, and twice", `{"config":{"digest":"<c>"},"manifests":[{"digest":"<a>","digest":"<b>"}],"layers":[],"layers":[{"digest":"<l>"}]}`, []string{"c", "a", "b", "l"}},
		{"layers that stay elsewhere", `{"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"<f>"}]}`, []string{"f"}},
		{"members of its own, at any depth", `{"files":[{"digest":"<a>"}],"parts":{"a":[[{"data":{"digest":"<b>"}}]]},"digest":"<c>"}`, []string{"a", "b", "c"}},
		{"a member called data that is an object", `{"data":{"digest":"<a>"}}`, []string{"a"}},
		{"other letters, and escapes", `{"Digest":"<a>","di\u0067est":"<b>","DIGEST":"sha256\u003a` + of("c").Encoded() + `","digeſt":"<d>","dige\u017ft":"<e>"}`, []string{"a", "b", "c", "d", "e"}},
		{"a digest of sha512", `{"digest":"` + string(digest.SHA512.FromString("x")) + `"}`, []string{"sha512"}},
		{"the same twice", `[{"digest":"<a>"},{"digest":"<a>"}]`, []string{"a", "a"}},
		{"after annotations", `{"annotations":{"a":"}]\""},"x":{"digest":"<a>"}}`, []string{"a"}},
		{"after annotations that are a text", `{"annotations":"x","digest":"<a>"}`, []string{"a"}},

		{"annotations", `{"annotations":{"digest":"<a>","x":"<b>"},"manifests":[{"annotations":{"digest":"<c>"}}]}`, nil},
		{"texts", `{"x":"<a>","y":["digest","<b>","{\"digest\":\"<c>\"}"],"<d>":"digest"}`, nil},
		{"data that is embedded", `{"data":"eyJkaWdlc3QiOiJzaGEyNTY6In0="}`, nil},
		{"a digest that is not a text", `{"digest":{"x":"<a>"},"digest":["<b>"],"digest":1}`, nil},
		{"an object behind a digest", `{"digest":{"digest":"<a>"}}`, []string{"a"}},
		{"malformed digests", `{"digest":"sha256:x","digest":"","digest":"md5:d41d8cd98f00b204e9800998ecf8427e","digest":"<a>x"}`, nil},
		{"names that are longer", `{"digests":"<a>","digest ":"<b>","xdigest":"<c>"}`, nil},
		{"half a document", `{"config":{"digest":"<a>"},"layers":[{"dig`, []string{"a"}},
		{"no JSON", "\x00\"\\", nil},
		{"nothing", "", nil},
	} {
		var got, want []digest.Digest
		for d := range graph.Named(text(row.document)) {
			got = append(got, d)
		}
		for _, name := range row.want {
			d := of(name)
			if name == "sha512" {
				d = digest.SHA512.FromString("x")
			}
			want = append(want, d)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", row.name, got, want)
		}
		for _, d := range want {
			if !graph.Names(text(row.document), d) {
				t.Errorf("%s: does not name %s", row.name, d)
			}
		}
	}
	for range graph.Named(text(`[{"digest":"<a>"},{"digest":"<b>"}]`)) {
		break // the caller may stop
	}
}

// The nodes are written as name: what it names; a subject is a name in brackets.
func TestGraph(t *testing.T) {
	held := map[string]string{
		"image":    "config layer",
		"image2":   "config layer2",
		"index":    "image image2 absent",
		"cache":    "cacheblob cacheconfig",
		"sbom":     "[image] report",
		"sbom2":    "[sbom] report2",
		"lonely":   "config layer3",
		"lonely2":  "[lonely] report3",
		"unloved":  "[absent] report4",
		"circular": "circular",
	}
	blobs := strings.Fields("config layer layer2 layer3 cacheblob cacheconfig report report2 report3 report4 stray")
	for _, row := range []struct {
		keep       string
		loose      string
		stillNamed string // of blobs, when the loose ones are removed
	}{
		{"index", "cache circular lonely lonely2 unloved", "config layer layer2 report report2"},
		// A tagged signature keeps the image that it names, as its subject, and that its other referrers.
		{"sbom2", "cache circular image2 index lonely lonely2 unloved", "config layer report report2"},
		{"cache absent", "circular image image2 index lonely lonely2 sbom sbom2 unloved", "cacheblob cacheconfig"},
		{"", "cache circular image image2 index lonely lonely2 sbom sbom2 unloved", ""},
		{"index cache lonely unloved circular", "", "cacheblob cacheconfig config layer layer2 layer3 report report2 report3 report4"},
	} {
		documents := map[digest.Digest][]byte{}
		names := map[digest.Digest]string{}
		var manifests, held2 []digest.Digest
		for name := range held {
			manifests = append(manifests, of(name))
			names[of(name)] = name
		}
		for _, name := range blobs {
			held2 = append(held2, of(name))
		}
		g := graph.New(manifests, held2)
		for name, what := range held {
			var subject digest.Digest
			document := `{"x":[`
			for word := range strings.FieldsSeq(what) {
				if bare := strings.Trim(word, "[]"); bare != word {
					subject = of(bare)
					word = bare
				}
				document += fmt.Sprintf(`{"digest":%q},`, of(word))
			}
			documents[of(name)] = []byte(strings.TrimSuffix(document, ",") + "]}")
			g.Add(of(name), subject, documents[of(name)])
		}
		for name := range strings.FieldsSeq(row.keep) {
			g.Keep(of(name))
		}
		loose := slices.Collect(g.Loose())
		var got []string
		for _, d := range loose {
			got = append(got, names[d])
			g.Remove(d, documents[d])
			g.Remove(d, documents[d]) // once is enough
			if g.Has(d) {
				t.Errorf("keep %q: still has %s", row.keep, names[d])
			}
		}
		slices.Sort(got)
		if got := strings.Join(got, " "); got != row.loose {
			t.Errorf("keep %q: got loose %q, want %q", row.keep, got, row.loose)
		}
		got = nil
		for _, name := range blobs {
			if g.Used(of(name)) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if got := strings.Join(got, " "); got != row.stillNamed {
			t.Errorf("keep %q: blobs %q are named, want %q", row.keep, got, row.stillNamed)
		}
	}
}

// A manifest that cannot be read again when it is removed leaves what it named in use.
func TestRemoveWithoutBytes(t *testing.T) {
	g := graph.New([]digest.Digest{of("m")}, []digest.Digest{of("b")})
	g.Add(of("m"), "", text(`{"digest":"<b>"}`))
	g.Remove(of("m"), nil)
	if !g.Used(of("b")) {
		t.Error("b is not in use; nobody knows that")
	}
}

// 120 indexes of 3.5 MiB, each of 24,000 children that are not here, took 1.5 GiB.
func TestGraphIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"manifests":[`)
	for i := range 24_000 {
		fmt.Fprintf(&b, `{"digest":%q,"size":1,"mediaType":"application/vnd.oci.image.manifest.v1+json"},`, of(fmt.Sprint(i)))
	}
	b.WriteString(`{}]}`)
	hostile := map[string][]byte{
		"absent children": []byte(b.String()),
		"one blob again":  []byte("[" + strings.Repeat(string(text(`{"digest":"<held>"},`)), 40_000) + "0]"),
		"escaped names":   []byte("{" + strings.Repeat(`"\u0061":1,`, 380_000) + `"":1}`),
		"escaped digests": []byte("[" + strings.Repeat(`{"digest":"\u0061"},`, 200_000) + "0]"),
		"brackets":        []byte(strings.Repeat(`[`, 4<<20)),
	}
	for name, document := range hostile {
		manifests := make([]digest.Digest, 120)
		for i := range manifests {
			manifests[i] = of(fmt.Sprint("m", i))
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		g := graph.New(manifests, []digest.Digest{of("held")})
		for _, d := range manifests[:2] {
			g.Add(d, "", document)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 1<<20 {
			t.Errorf("%s: two of them keep %d KiB, want at most 1024", name, got>>10)
		}
		runtime.KeepAlive(g)
	}
}

func FuzzNamed(f *testing.F) {
	for _, document := range []string{
		`{"config":{"digest":"<a>"},"annotations":{"digest":"<b>"}}`, `{"di\u0067est":"<a>"}`, `"digest":"<a>"`, `{"annotations":[{"x":"\"`, "\"\\",
	} {
		f.Add(text(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		for d := range graph.Named(document) {
			if err := d.Validate(); err != nil {
				t.Errorf("names %q: %v", d, err)
			}
		}
	})
}
