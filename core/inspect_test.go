package core_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/core"
)

const (
	image  = ocispec.MediaTypeImageManifest
	index  = ocispec.MediaTypeImageIndex
	docker = core.MediaTypeDockerManifest
	list   = core.MediaTypeDockerManifestList
	own    = "application/vnd.acme.thing.v1+json"
	empty  = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// desc is a descriptor; more is written into the object behind its members.
func desc(more string) string {
	return `{"mediaType":"application/x","digest":"` + empty + `","size":0` + more + `}`
}

// Documents are written with three abbreviations.
func document(s string) []byte {
	return []byte(strings.NewReplacer("DESC", desc(""), "IMAGE", image, "INDEX", index).Replace(s))
}

// many are the members of an object, without the brackets.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d":"",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// Which documents may be pushed, and with which type. A row with a text is refused with it. The
// type is that under which the document is served if it is held nevertheless, or comes from an
// upstream with the sent type.
func TestCheckPush(t *testing.T) {
	for _, row := range []struct {
		name, sent, document string
		refused              string // words of the sentence, or ""
		served               string
	}{
		{"an image", image, `{"schemaVersion":2,"mediaType":"IMAGE","config":DESC,"layers":[DESC]}`, "", image},
		{"an image without a type of its own", image, `{"config":DESC,"layers":[DESC]}`, "", image},
		{"the same as Docker's", docker, `{"config":DESC,"layers":[DESC]}`, "", docker},
		{"an index", index, `{"mediaType":"INDEX","manifests":[DESC,DESC]}`, "", index},
		{"an empty index", index, `{"manifests":[]}`, "", index},
		{"lists that are null", index, `{"manifests":null}`, "", index},
		{"layers that are null", image, `{"config":DESC,"layers":null}`, "", image},
		{"no layers at all", image, `{"config":DESC}`, "", image},
		{"an artifact of another kind", own, `{"mediaType":"application/vnd.acme.thing.v1+json","files":[DESC]}`, "", own},
		{"one that has config and layers", own, `{"config":DESC,"layers":[DESC]}`, "", own},
		{"the withdrawn artifact manifest", "application/vnd.oci.artifact.manifest.v1+json", `{"blobs":[DESC],"subject":DESC}`, "", "application/vnd.oci.artifact.manifest.v1+json"},
		{"that without blobs", "application/vnd.oci.artifact.manifest.v1+json", `{"artifactType":"a/b"}`, "", "application/vnd.oci.artifact.manifest.v1+json"},
		{"the type in other letters", image, `{"mediaType":"application/vnd.OCI.image.manifest.v1+JSON","config":DESC}`, "", image},
		{"unknown members", image, `{"config":DESC,"blobby":{"a":[1,2.5,null,{"b":true}]},"config2":{}}`, "", image},
		{"null for optional members", image, `{"config":DESC,"subject":null,"annotations":null,"mediaType":null}`, "", image},
		{"all that a descriptor may have", image, `{"config":` + desc(`,"data":"","urls":["http://x"],"annotations":{"a":"b"},"artifactType":"a/b","platform":{"os":"linux","architecture":"arm","os.features":["x"],"variant":null}`) + `}`, "", image},
		{"the same name in two objects", image, `{"config":DESC,"layers":[DESC,DESC],"a":{"x":1},"b":{"x":1}}`, "", image},
		{"annotations that differ in case", image, `{"config":DESC,"annotations":{"config":"a","Config":"b"}}`, "", image},
		{"5,000 levels", image, `{"config":DESC,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "", image},

		// Not JSON, or not an object.
		{"nothing", image, ``, "not JSON", ""},
		{"half a document", image, `{"config":DESC`, "not JSON", ""},
		{"null", image, `null`, "JSON object", ""},
		{"a list", image, `[]`, "JSON object", ""},
		{"a byte order mark", image, "\xef\xbb\xbf" + `{"config":DESC}`, "byte order mark", ""},
		{"a second document", image, `{"config":DESC}{}`, "not JSON", ""},
		{"100,000 levels", image, `{"config":DESC,"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`, "depth", ""},
		{"bytes that are not UTF-8", image, "{\"config\":DESC,\"annotations\":{\"a\":\"\xff\"}}", "UTF-8", image},

		// The type that was sent is not one of manifests. Types that a browser runs are never
		// served.
		{"a page", "text/html", `{"x":"<script>"}`, "send the media type", core.MediaTypeUnknown},
		{"a page that is an image", "text/html", `{"config":DESC}`, "send " + image, image},
		{"XHTML", "application/xhtml+xml", `{"manifests":[]}`, "send " + index, index},
		{"SVG", "image/svg+xml", `{}`, "not a media type of manifests", core.MediaTypeUnknown},
		{"a script", "application/javascript", `{}`, "not a media type of manifests", core.MediaTypeUnknown},
		{"XHTML that ends like JSON", "application/xhtml+xml+json", `{}`, "not a media type of manifests", core.MediaTypeUnknown},
		{"a type that is generic", "application/json", `{"config":DESC}`, "send " + image, image},
		{"another", "application/octet-stream", `{"mediaType":"application/vnd.acme.thing.v1+json"}`, "send " + own, own},
		{"none", "", `{"config":DESC}`, "send " + image, image},
		{"a page by its member", own, `{"mediaType":"text/html"}`, "make them agree", own},

		// The document contradicts the type.
		{"an index sent as an image", image, `{"manifests":[DESC]}`, "is an index", index},
		{"an image sent as an index", index, `{"config":DESC,"layers":[DESC]}`, "is an image manifest", image},
		{"an image sent as Docker's list", list, `{"layers":[DESC]}`, "is an image manifest", image},
		{"another type than it says", image, `{"mediaType":"INDEX","config":DESC}`, "make them agree", image},
		{"an image that says that it is an index", index, `{"mediaType":"INDEX","config":DESC}`, "is an image manifest", image},
		{"an image without a config", image, `{"layers":[DESC]}`, "must have a config", image},
		{"an image with a config that is null", image, `{"config":null,"layers":[DESC]}`, "must have a config", image},
		{"an image without any member", image, `{"mediaType":"IMAGE"}`, "must have a config", image},
		{"an index without manifests", index, `{}`, "must have the member manifests", index},
		{"blobs sent as an image", image, `{"blobs":[DESC]}`, "is an artifact manifest", core.MediaTypeUnknown},
		{"an image sent as an artifact manifest", "application/vnd.oci.artifact.manifest.v1+json", `{"config":DESC,"blobs":[DESC]}`, "is an image manifest", image},
		{"schema 1 by its type", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"config":DESC}`, "current client", image},
		{"schema 1 by its version", own, `{"schemaVersion":1}`, "current client", own},
		{"schema 1 by its layers", image, `{"fsLayers":[]}`, "current client", core.MediaTypeUnknown},

		// Two clients see two things.
		{"an image with manifests", image, `{"config":DESC,"layers":[DESC],"manifests":[DESC]}`, "two kinds", image},
		{"an index with a config", index, `{"manifests":[],"config":DESC}`, "two kinds", index},
		{"an index with layers", index, `{"manifests":[],"layers":[]}`, "two kinds", index},
		{"an image with manifests that are null", image, `{"config":DESC,"manifests":null}`, "two kinds", image},
		{"an artifact of another kind that is both", own, `{"layers":[],"manifests":[]}`, "two kinds", own},
		{"an image with layers of schema 1", image, `{"config":DESC,"fsLayers":[]}`, "two kinds", image},
		{"an index with Layers", index, `{"manifests":[],"Layers":[]}`, "two kinds", index},
		{"layers twice", image, `{"config":DESC,"layers":[DESC],"layers":[]}`, `"layers" twice`, image},
		{"layers in two cases", image, `{"config":DESC,"layers":[DESC],"Layers":[]}`, `"layers" twice`, image},
		{"layers with an s that is equal without case", image, `{"config":DESC,"layers":[DESC],"layer` + "ſ" + `":[]}`, `"layers" twice`, image},
		{"layers, once escaped", image, `{"config":DESC,"layers":[DESC],"l\u0061yers":[]}`, `"layers" twice`, image},
		{"config twice", image, `{"config":DESC,"config":DESC}`, `"config" twice`, image},
		{"mediaType twice", image, `{"mediaType":"IMAGE","config":DESC,"mediaType":"INDEX"}`, `"mediaType" twice`, image},
		{"subject twice", image, `{"config":DESC,"subject":DESC,"subject":null}`, `"subject" twice`, image},
		{"annotations twice", image, `{"config":DESC,"annotations":{},"ANNOTATIONS":{}}`, `"annotations" twice`, image},
		{"a digest twice", image, `{"config":` + desc(`,"digest":"sha256:x"`) + `}`, `"digest" twice`, image},
		{"a digest in two cases", image, `{"config":DESC,"layers":[` + desc(`,"Digest":"`+empty+`"`) + `]}`, `"digest" twice`, image},
		{"a size twice", index, `{"manifests":[` + desc(`,"ſize":1`) + `]}`, `"size" twice`, index},
		{"a platform's os twice", index, `{"manifests":[` + desc(`,"platform":{"os":"linux","os":"windows"}`) + `]}`, `"os" twice`, index},
		{"an annotation twice", image, `{"config":DESC,"annotations":{"a":"1","b":"","a":"2"}}`, `"a" twice`, image},
		{"an annotation of a layer twice", image, `{"config":DESC,"layers":[` + desc(`,"annotations":{"a":"1","a":"2"}`) + `]}`, `"a" twice`, image},
		{"an unknown member twice", image, `{"config":DESC,"x":1,"\u0078":2}`, `"x" twice`, image},
		{"a duplicate member, deep in a part that is not read", image, `{"config":DESC,"x":[[{"y":[{"z":1,"z":1}]}]]}`, `"z" twice`, image},
		{"a member in capitals alone", image, `{"config":DESC,"Layers":[DESC]}`, `must be written "layers"`, image},
		{"a descriptor's member in capitals alone", image, `{"config":{"Digest":"` + empty + `","size":0}}`, `must be written "digest"`, image},

		// The wrong shape.
		{"a config that is a text", own, `{"config":"x"}`, "must be a descriptor", own},
		{"a config that is a list", image, `{"config":[DESC]}`, "must be a descriptor", image},
		{"layers that are an object", image, `{"config":DESC,"layers":{}}`, "must be a list", image},
		{"manifests that are a text", index, `{"manifests":"x"}`, "must be a list", index},
		{"a layer that is null", image, `{"config":DESC,"layers":[null]}`, "must be a descriptor", image},
		{"a layer that is a digest", image, `{"config":DESC,"layers":["` + empty + `"]}`, "must be a descriptor", image},
		{"an empty descriptor", index, `{"manifests":[{}]}`, "no digest", index},
		{"a digest that is a path", index, `{"manifests":[{"digest":"sha256:../../x","size":0}]}`, "characters", index},
		{"a digest of another algorithm", index, `{"manifests":[{"digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":0}]}`, "neither sha256", index},
		{"a digest in capitals", index, `{"manifests":[{"digest":"` + strings.ToUpper(empty) + `","size":0}]}`, "sha256", index},
		{"a digest that is a number", index, `{"manifests":[{"digest":1,"size":0}]}`, "must be a text", index},
		{"a subject without a digest", image, `{"config":DESC,"subject":{}}`, "no digest", image},
		{"a negative size", index, `{"manifests":[{"digest":"` + empty + `","size":-1}]}`, "negative", index},
		{"no size", index, `{"manifests":[{"digest":"` + empty + `"}]}`, "no size", index},
		{"a size with a fraction", index, `{"manifests":[{"digest":"` + empty + `","size":50.0}]}`, "whole number", index},
		{"a size with an exponent", index, `{"manifests":[{"digest":"` + empty + `","size":1e3}]}`, "whole number", index},
		{"a size beyond all", index, `{"manifests":[{"digest":"` + empty + `","size":9223372036854775808}]}`, "whole number", index},
		{"a size that is a text", index, `{"manifests":[{"digest":"` + empty + `","size":"5"}]}`, "whole number", index},
		{"a media type that is a number", image, `{"mediaType":1,"config":DESC}`, "must be a text", image},
		{"a version that is a text", image, `{"schemaVersion":"2","config":DESC}`, "whole number", image},
		{"an annotation that is a number", image, `{"config":DESC,"annotations":{"count":1}}`, "must be texts", image},
		{"annotations that are a list", image, `{"config":DESC,"annotations":[]}`, "object of texts", image},
		{"an annotation of a layer that is true", image, `{"config":DESC,"layers":[` + desc(`,"annotations":{"x":true}`) + `]}`, "must be texts", image},
		{"a platform that is a text", index, `{"manifests":[` + desc(`,"platform":"linux/amd64"`) + `]}`, `"platform"`, index},
		{"features that are a text", index, `{"manifests":[` + desc(`,"platform":{"os":"windows","os.features":"win32k"}`) + `]}`, `"platform"`, index},
		{"URLs that are a text", image, `{"config":` + desc(`,"urls":"http://x"`) + `}`, `"urls"`, image},
		{"data that is not base64", image, `{"config":` + desc(`,"data":"e30"`) + `}`, `"data"`, image},
		{"too many layers", image, `{"config":DESC,"layers":[` + strings.Repeat("DESC,", core.MaxDescriptors-1) + `DESC]}`, "more than 10000 descriptors", image},
		{"too many in all", index, `{"subject":DESC,"manifests":[` + strings.Repeat("DESC,", core.MaxDescriptors-1) + `DESC]}`, "more than 10000 descriptors", index},
		{"too many members in one object", image, `{"config":DESC,"annotations":{` + many(100_000) + `}}`, "more than 100000 members", image},
		{"as many as there may be", index, `{"manifests":[` + strings.Repeat("DESC,", core.MaxDescriptors-1) + `DESC]}`, "", index},
	} {
		doc, err := core.Inspect(document(row.document))
		if err == nil {
			if got := doc.ServedType(row.sent); got != row.served {
				t.Errorf("%s: is served as %q, want %q", row.name, got, row.served)
			}
			err = doc.CheckPush(row.sent)
		} else if row.served != "" {
			t.Errorf("%s: %v; held documents must be served", row.name, err)
		}
		switch {
		case row.refused == "" && err != nil:
			t.Errorf("%s: refused: %v", row.name, err)
		case row.refused != "" && !errors.Is(err, core.ErrManifestInvalid):
			t.Errorf("%s: got error %v, want %q", row.name, err, core.ErrManifestInvalid)
		case row.refused != "" && !strings.Contains(err.Error(), row.refused):
			t.Errorf("%s: got %q, want it to say %q", row.name, err, row.refused)
		}
	}
}

// Documents that a mirror must not pass on, and those that it may although a push may not have
// them.
func TestAmbiguousAndMalformed(t *testing.T) {
	for _, row := range []struct {
		document  string
		ambiguous bool
	}{
		{`{"config":DESC,"manifests":[]}`, true},
		{`{"config":DESC,"Config":DESC}`, true},
		{`{"manifests":[` + desc(`,"digest":""`) + `]}`, true},
		{`{"config":DESC,"annotations":{"a":"","a":""}}`, false},
		{`{"config":DESC,"x":1,"x":1}`, false},
		{`{"Config":DESC}`, false},
		{`{"config":DESC,"annotations":{"a":1}}`, false},
		{`{"config":"x"}`, false},
		{`{"manifests":[` + strings.Repeat("{},", core.MaxDescriptors) + `{}]}`, false},
	} {
		doc, err := core.Inspect(document(row.document))
		if got := doc.Ambiguous != nil; err != nil || got != row.ambiguous {
			t.Errorf("%.90s: got ambiguous %v (%v) and error %v, want %v", row.document, got, doc.Ambiguous, err, row.ambiguous)
		}
		if doc.Ambiguous == nil && doc.Malformed == nil {
			t.Errorf("%.90s: a push may have it", row.document)
		}
	}
}

// Unreadable members yield no links and no sizes, and do not affect the rest.
func TestInspectReadsWhatItCan(t *testing.T) {
	for _, row := range []struct {
		document string
		want     string
	}{
		{`{"config":DESC,"layers":[DESC,"x",{"digest":"` + empty + `","size":50.0}]}`, "config 0 layers [0 -1] manifests [] annotations 0"},
		{`{"config":"x","layers":[DESC],"annotations":{"a":1,"b":"c"}}`, "layers [0] manifests [] annotations 1"},
		{`{"manifests":[{"digest":"sha256:x","size":1},{"size":2},` + desc(`,"platform":"x"`) + `]}`, "layers [] manifests [0] annotations 0"},
		{`{"config":DESC,"layers":[` + strings.Repeat("DESC,", core.MaxDescriptors) + `DESC]}`, "layers [] manifests [] annotations 0"},
		{`{"Config":DESC,"LAYERS":[DESC]}`, "config 0 layers [0] manifests [] annotations 0"},
		{`{"config":DESC,"annotations":{"a":"` + strings.Repeat("x", 2*core.MaxReferrerSize) + `"}}`, "config 0 layers [] manifests [] annotations 0"},
	} {
		doc, err := core.Inspect(document(row.document))
		if err != nil {
			t.Errorf("%.90s: %v", row.document, err)
			continue
		}
		sizes := func(ds []core.Descriptor) []int64 {
			found := []int64{}
			for _, d := range ds {
				found = append(found, d.Size)
			}
			return found
		}
		got := fmt.Sprintf("layers %v manifests %v annotations %d", sizes(doc.Layers), sizes(doc.Manifests), len(doc.Annotations))
		if doc.Config != nil {
			got = fmt.Sprintf("config %d ", doc.Config.Size) + got
		}
		if got != row.want {
			t.Errorf("%.90s: got %s, want %s", row.document, got, row.want)
		}
	}
}

func TestInspectSubjectAndArtifactType(t *testing.T) {
	for _, row := range []struct{ document, subject, artifactType, annotation string }{
		{`{"config":DESC,"subject":DESC,"annotations":{"a":"\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t\ud800x\u0000"}}`, empty, "application/x", "é😀\"\\/\b\f\n\r\t\ufffdx\x00"},
		{`{"artifactType":"own/type","config":DESC,"annotations":{"a":"b"}}`, "", "own/type", "b"},
		{`{"manifests":[DESC],"subject":DESC}`, empty, "", ""},
		{`{"manifests":[],"artifactType":"own/type","annotations":{"\u0061":"escaped"}}`, "", "own/type", "escaped"},
		{`{"blobs":[],"artifactType":"own/type"}`, "", "own/type", ""},
	} {
		doc, err := core.Inspect(document(row.document))
		if err != nil || string(doc.SubjectDigest()) != row.subject || doc.ArtifactType != row.artifactType || doc.Annotations["a"] != row.annotation {
			t.Errorf("%s: got subject %q, artifact type %q, annotation %q and error %v, want %q, %q, %q", row.document,
				doc.SubjectDigest(), doc.ArtifactType, doc.Annotations["a"], err, row.subject, row.artifactType, row.annotation)
		}
	}
}

// Config and distributable layers must exist; the other names are the client's affair.
func TestRequired(t *testing.T) {
	layer := func(mediaType string) string { return strings.Replace(desc(""), "application/x", mediaType, 1) }
	for _, row := range []struct {
		document string
		want     int
	}{
		{`{"config":DESC,"layers":[DESC,DESC]}`, 3},
		{`{"blobs":[DESC]}`, 1},
		{`{"manifests":[DESC]}`, 0},
		{`{"files":[DESC]}`, 0},
		{`{"config":DESC,"subject":DESC}`, 1},
		{`{"config":DESC,"layers":[` + layer("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd") + `]}`, 1},
		{`{"config":DESC,"layers":[` + layer("application/vnd.docker.image.rootfs.foreign.diff.tar") + `]}`, 1},
		{`{"config":DESC,"layers":[` + layer("application/vnd.Docker.image.rootfs.foreign.diff.tar.zstd") + `]}`, 1},
		{`{"config":DESC,"layers":[` + layer("application/vnd.docker.image.rootfs.diff.tar.gzip") + `]}`, 2},
	} {
		doc, err := core.Inspect(document(row.document))
		if err != nil || len(doc.Required()) != row.want {
			t.Errorf("%s: got %v and error %v, want %d", row.document, doc.Required(), err, row.want)
		}
	}
}

// Only these are served as they are called; the rest is bytes for a browser.
func TestIsManifestType(t *testing.T) {
	for _, row := range []struct {
		mediaType string
		want      bool
	}{
		{image, true}, {index, true}, {docker, true}, {list, true}, {own, true},
		{"application/vnd.oci.descriptor.v1+json", true}, // "script" is within a word
		{"application/vnd.acme.subscription_a-b+json", true},
		{"", false}, {"application/json", false}, {"application/octet-stream", false}, {"text/json", false},
		{"text/html", false}, {"application/xhtml+xml", false}, {"image/svg+xml", false}, {"application/xml", false},
		{"text/html+json", false}, {"image/x+json", false}, {"Application/x+json", false}, {"application/X+json", false},
		{"application/html+json", false}, {"application/vnd.html.v1+json", false}, {"application/svg-x+json", false},
		{"application/x-javascript+json", false}, {"application/script+json", false}, {"application/xml+json", false},
		{"application/+json", false}, {"application/.x+json", false}, {"application/x+json;a=b", false},
		{"application/x+json, text/html", false}, {"application/x y+json", false}, {"application/x+json\r\nX: y", false},
		{"application/x/y+json", false}, {"application/é+json", false}, {"application/x+json+xml", false},
		{"application/" + strings.Repeat("x", 240) + "+json", false},
	} {
		if got := core.IsManifestType(row.mediaType); got != row.want {
			t.Errorf("%q: got %v, want %v", row.mediaType, got, row.want)
		}
		if got, want := core.ServableType(row.mediaType), core.MediaTypeUnknown; !row.want && got != want {
			t.Errorf("%q: is served as %q, want %q", row.mediaType, got, want)
		}
	}
}

// hostile are documents of MaxManifestSize that were worth hundreds of MiB.
func hostile() map[string][]byte {
	fill := func(begin, each, end string) []byte {
		n := (core.MaxManifestSize - len(begin) - len(end)) / len(each)
		return []byte(begin + strings.TrimSuffix(strings.Repeat(each, n), ",") + end)
	}
	names := func(begin, each, end string) []byte {
		var b strings.Builder
		b.WriteString(begin)
		for i := 0; b.Len() < core.MaxManifestSize-100; i++ {
			fmt.Fprintf(&b, each, i)
		}
		return append([]byte(strings.TrimSuffix(b.String(), ",")), end...)
	}
	nested := strings.Repeat(`{"layers":[`, 4999) + strings.Repeat(`]}`, 4999) + ","
	return map[string][]byte{
		"empty layers":            fill(`{"schemaVersion":2,"config":{},"layers":[`, `{},`, `]}`),
		"empty manifests":         fill(`{"schemaVersion":2,"manifests":[`, `{},`, `]}`),
		"layers that are null":    fill(`{"schemaVersion":2,"config":{},"layers":[`, `null,`, `]}`),
		"layers":                  fill(`{"config":`+desc("")+`,"layers":[`, desc("")+",", `]}`),
		"deep":                    fill(`{"x":[`, nested, `]}`),
		"names":                   names(`{`, `"%x":0,`, `}`),
		"escaped names":           names(`{`, `"\n%x":0,`, `}`),
		"annotations":             names(`{"config":`+desc("")+`,"annotations":{`, `"%x":"",`, `}}`),
		"annotations of a layer":  names(`{"manifests":[{"annotations":{`, `"%x":"",`, `}}]}`),
		"a member again":          fill(`{"layers":[],`, `"layers":[],`, `}`),
		"URLs":                    fill(`{"manifests":[{"urls":[`, `"",`, `]}]}`),
		"data":                    fill(`{"config":{"data":"`, `AAAA`, `"}}`),
		"members of a descriptor": fill(`{"config":{"digest":"",`, `"digest":"",`, `}}`),
	}
}

// One push of 4 MiB took 700 MiB. The cost of any document is bounded: a few times its size to
// walk over it, and the memory of 10,000 descriptors and 64 KiB of annotations.
func TestInspectIsBounded(t *testing.T) {
	const most = 20 << 20
	for name, data := range hostile() {
		inspect := core.Inspect
		if strings.HasPrefix(name, "annotations") {
			inspect = core.InspectReferrers // which keeps more of them
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := inspect(data)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := after.TotalAlloc - before.TotalAlloc
		if got > most {
			t.Errorf("%s: allocated %d MiB in all, want at most %d", name, got>>20, most>>20)
		}
		t.Logf("%s: %d KiB", name, got>>10)
	}
}

func BenchmarkInspect(b *testing.B) {
	layers := strings.Repeat(desc(`,"annotations":{"a":"b"}`)+",", 20)
	for name, data := range map[string][]byte{
		"image of 20 layers": []byte(`{"schemaVersion":2,"mediaType":"` + image + `","config":` + desc("") + `,"layers":[` + strings.TrimSuffix(layers, ",") + `]}`),
		"1.4 million {}":     hostile()["empty layers"],
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := core.Inspect(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
