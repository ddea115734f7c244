package floods

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/eblume/caddy-registry/integration/client"
)

// indexOf returns index n with missing children, all different. Annotations
// fill it up to size bytes, unless size is 0.
func indexOf(n, children, size int) []byte {
	item := `{"mediaType":"` + imageType + `","size":1,"digest":"sha256:` + strings.Repeat("0", 64) + `"`
	number := len(item) - 1 // where the digest ends
	if size > 0 {
		item += `,"annotations":{"a":"` + strings.Repeat("a", size/children-len(item)-24) + `"}`
	}
	index := repeatN(children, `{"schemaVersion":2,"mediaType":"`+indexType+`","manifests":[`, item+"}", "]}")
	at := bytes.IndexByte(index, '[') + 1 + number
	for i := range children {
		last := strconv.AppendInt(nil, int64(n)<<32|int64(i), 16)
		copy(index[at-len(last):], last)
		at += len(item) + len("},")
	}
	return index
}

// wantStatus returns nil if the status of an answer is want. good is the status on success.
func wantStatus(err error, good, want int) error {
	var refused *client.StatusError
	got := good
	if errors.As(err, &refused) {
		got = refused.Status
	} else if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("status %d, want %d: %v", got, want, err)
	}
	return nil
}
