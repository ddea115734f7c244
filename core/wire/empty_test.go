package wire

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/eblume/caddy-registry/core"
)

// unverified is a blob that says it is empty, and whose digest then turns out wrong.
type unverified struct{ desc core.Descriptor }

func (b unverified) Descriptor() core.Descriptor    { return b.desc }
func (unverified) Read([]byte) (int, error)         { return 0, errors.New("its digest is another") }
func (unverified) WriteTo(io.Writer) (int64, error) { return 0, errors.New("its digest is another") }
func (unverified) Close() error                     { return nil }

// An empty answer ends with its header: it waits until the blob has ended well.
func TestEmptyBlobIsNotAnsweredBeforeItsEnd(t *testing.T) {
	reg := filled(t)
	reg.open = func(desc core.Descriptor, _ []byte) core.Blob {
		desc.Size = 0
		return unverified{desc}
	}
	s := httptest.NewServer(handler(reg, Options{}))
	defer s.Close()
	response, err := http.Get(s.URL + "/v2/a/b/blobs/" + string(contentDigest))
	if err == nil {
		defer response.Body.Close()
		t.Errorf("got a clean answer with status %d, want a broken one", response.StatusCode)
	}
}
