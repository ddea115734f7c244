package wire

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

func TestBlob(t *testing.T) {
	at := "/v2/a/b/blobs/" + string(contentDigest)
	tag := `"` + string(contentDigest) + `"`
	whole := map[string]string{
		"Content-Type":          "application/octet-stream",
		"Content-Length":        "4096",
		"Docker-Content-Digest": string(contentDigest),
		"Etag":                  tag,
		"Accept-Ranges":         "bytes",
		"Content-Range":         "",
		"Cache-Control":         "private, max-age=31536000, immutable",
	}
	part := func(contentRange, length string) map[string]string {
		return map[string]string{"Content-Range": contentRange, "Content-Length": length, "Docker-Content-Digest": string(contentDigest), "Etag": tag}
	}
	get := func(name, field string, status int, want map[string]string, body []byte) exchangeRow {
		row := exchangeRow{name: name, method: "GET", url: at, status: status, want: want, wantBody: string(body)}
		if field != "" {
			row.header = http.Header{"Range": {field}}
		}
		return row
	}
	ifRange := func(name, condition string, status int) exchangeRow {
		row := get(name, "bytes=0-0", status, nil, nil)
		row.header.Set("If-Range", condition)
		return row
	}
	unseekable := func(size int64) func(*memory) {
		return func(m *memory) {
			m.open = func(desc core.Descriptor, data []byte) core.Blob {
				desc.Size = size
				return &streamBlob{bytes.NewReader(data), desc}
			}
		}
	}
	outside := map[string]string{"Content-Range": "bytes */4096", "Docker-Content-Digest": ""}
	runRows(t, []exchangeRow{
		get("whole", "", 200, whole, content),
		get("in the middle", "bytes=500-1499", 206, part("bytes 500-1499/4096", "1000"), content[500:1500]),
		get("to the end", "bytes=500-", 206, part("bytes 500-4095/4096", "3596"), content[500:]),
		get("the end", "bytes=-500", 206, part("bytes 3596-4095/4096", "500"), content[3596:]),
		get("beyond the end", "bytes=2000-5000", 206, part("bytes 2000-4095/4096", "2096"), content[2000:]),
		get("in another unit", "pages=1-2", 200, whole, content),
		get("in several parts", "bytes=0-1,3-4", 200, whole, content),
		{name: "backwards", method: "GET", url: at, header: http.Header{"Range": {"bytes=500-0"}}, status: 416, code: "SIZE_INVALID", want: outside},
		{name: "behind the end", method: "GET", url: at, header: http.Header{"Range": {"bytes=5000-10000"}}, status: 416, code: "SIZE_INVALID", want: outside},

		ifRange("a part of the blob that the client has", tag, 206),
		ifRange("a part, if it were another", `"x"`, 200),
		ifRange("a part, weakly the same", "W/"+tag, 200),
		ifRange("a part, since a date", "Mon, 23 Nov 2026 00:00:00 GMT", 200),

		{name: "HEAD", method: "HEAD", url: at, status: 200, want: whole},
		{name: "HEAD of a part", method: "HEAD", url: at, header: http.Header{"Range": {"bytes=0-0"}}, status: 200, want: whole},
		{name: "that the client has", method: "GET", url: at, header: http.Header{"If-None-Match": {tag}}, status: 304, want: map[string]string{"Etag": tag, "Docker-Content-Digest": string(contentDigest)}},
		{name: "that the client has and the registry does not", method: "GET", url: "/v2/x/blobs/" + string(contentDigest), header: http.Header{"If-None-Match": {tag}}, status: 404, code: "BLOB_UNKNOWN"},
		{name: "for everybody", method: "GET", url: at, opts: Options{Public: true}, status: 200, want: map[string]string{"Cache-Control": "public, max-age=31536000, immutable"}},
		{name: "unknown", method: "GET", url: "/v2/a/b/blobs/" + emptyDigest, status: 404, code: "BLOB_UNKNOWN"},
		{name: "HEAD of an unknown one", method: "HEAD", url: "/v2/a/b/blobs/" + emptyDigest, status: 404, code: "BLOB_UNKNOWN"},

		// A blob that cannot seek has no ranges, and one without a size has no
		// length.
		{name: "a part of a stream", method: "GET", url: at, header: http.Header{"Range": {"bytes=0-0"}}, prepare: unseekable(4096), status: 200, wantBody: string(content), want: map[string]string{"Accept-Ranges": "", "Content-Length": "4096"}},
		{name: "of unknown size", method: "GET", url: at, header: http.Header{"Range": {"bytes=0-0"}}, prepare: unseekable(-1), status: 200, wantBody: string(content), want: map[string]string{"Accept-Ranges": "", "Content-Length": ""}},

		{name: "deleted", method: "DELETE", url: at, status: 202},
		{name: "deleted and unknown", method: "DELETE", url: "/v2/a/b/blobs/" + emptyDigest, status: 404, code: "BLOB_UNKNOWN"},
		{name: "deleted and in use", method: "DELETE", url: at, status: 405, code: "UNSUPPORTED", want: map[string]string{"Allow": "GET, HEAD"},
			prepare:  func(m *memory) { m.fail["DeleteBlob"] = core.WithDetail(core.ErrBlobInUse, []string{emptyDigest}) },
			wantBody: `{"errors":[{"code":"UNSUPPORTED","message":"blob is named by manifests of the repository; delete those first","detail":["` + emptyDigest + `"]}]}`},
	})
}

func TestEmptyBlob(t *testing.T) {
	at := "/v2/a/b/blobs/" + emptyDigest
	put := func(m *memory) { m.putBlob("a/b", nil) }
	runRows(t, []exchangeRow{
		{name: "whole", method: "GET", url: at, prepare: put, status: 200, want: map[string]string{"Content-Length": "0"}},
		{name: "a part", method: "GET", url: at, header: http.Header{"Range": {"bytes=0-"}}, prepare: put, status: 416, code: "SIZE_INVALID", want: map[string]string{"Content-Range": "bytes */0"}},
	})
}
