package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// ErrDamaged is what a record is that does not say what it must. No client made it so,
// and none gets a code of its own for it. Pushing the same again puts it right.
var ErrDamaged = errors.New("damaged")

// manifestRecord is the object at manifestKey of a manifest that does not name its
// media type itself. Of any other the object is empty: what a manifest says of itself
// is as true in every repository, and an empty object costs a disk next to nothing.
type manifestRecord struct {
	MediaType string `json:"media_type"`
}

// encodeManifest makes the object at manifestKey.
func encodeManifest(mediaType string, doc *core.Document) []byte {
	if doc.MediaType == mediaType {
		return nil
	}
	return encode(manifestRecord{mediaType})
}

// decodeManifest returns the media type under which a manifest is served: what the object at
// manifestKey says, unless the document contradicts it or it is not a type of manifests.
// Older versions took any type.
func decodeManifest(key string, data []byte, doc *core.Document) (string, error) {
	if len(data) == 0 {
		if doc.MediaType == "" {
			return "", fmt.Errorf("record %s is %w: it is empty, and the manifest does not name its media type", key, ErrDamaged)
		}
		return doc.ServedType(""), nil
	}
	record, err := decode[manifestRecord](key, data)
	if err != nil {
		return "", err
	}
	return doc.ServedType(record.MediaType), nil
}

// tagRecord is the object at tagKey.
type tagRecord struct {
	Digest digest.Digest `json:"digest"`
	Time   time.Time     `json:"time"` // since when the tag names the digest
}

func encode(record any) []byte {
	data, err := json.Marshal(record)
	if err != nil {
		panic(err) // records hold strings, numbers and times only
	}
	return data
}

func decode[T any](key string, data []byte) (record T, err error) {
	if err := json.Unmarshal(data, &record); err != nil {
		var none T // some fields may have been read
		return none, fmt.Errorf("record %s is %w: %w", key, ErrDamaged, err)
	}
	return record, nil
}

// checkDigest tells whether a record that was decoded names one. A power cut can leave
// another file under its name, on a file system without a journal.
func checkDigest(key string, d digest.Digest) error {
	if _, err := core.ParseDigest(string(d)); err != nil {
		return fmt.Errorf("record %s is %w: names no digest", key, ErrDamaged) // and not err: it is not the client's mistake
	}
	return nil
}
