package upstream

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// The memory that an answer reserved is returned, however it ended.
func TestReservedMemoryIsGivenBack(t *testing.T) {
	large := `{"schemaVersion":2,"mediaType":"application/vnd.x+json","x":"` + strings.Repeat("x", 1<<20) + `"}`
	for _, row := range []struct {
		name   string
		length int // -1: not said
		body   string
		good   bool
	}{
		{"a length that is said", len(large), large, true},
		{"a length that is not said", -1, large, true},
		{"small, and no length", -1, `{"schemaVersion":2,"mediaType":"application/vnd.x+json"}`, true},
		{"not JSON", -1, strings.Repeat("x", 1<<20), false},
		{"cut off", len(large) + 1, large, false},
		{"says that it is too large", core.MaxManifestSize + 1, "", false},
		{"goes on for too long", -1, strings.Repeat("x", core.MaxManifestSize+1), false},
		{"empty", 0, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/vnd.x+json")
				if row.length >= 0 {
					w.Header().Set("Content-Length", strconv.Itoa(row.length))
				} else {
					w.(http.Flusher).Flush()
				}
				fmt.Fprint(w, row.body)
			}))
			defer up.Close()
			c, err := New(Config{URLs: []string{up.URL}, Breaker: time.Nanosecond})
			if err != nil {
				t.Fatal(err)
			}
			for range receivedEach / core.MaxManifestSize * 2 { // a leak of any would be felt below
				answer, err := c.Manifest(t.Context(), "team/app", core.Reference{Tag: "v1"})
				if (err == nil) != row.good {
					t.Fatalf("got error %v, want good: %t", err, row.good)
				}
				answer.Release()
			}
			release, err := receiving.Acquire(t.Context(), strings.TrimPrefix(up.URL, "http://"), receivedEach)
			if err != nil {
				t.Fatalf("not everything was given back: %v", err)
			}
			release()
		})
	}
}
