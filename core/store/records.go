package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// manifestRecord is the object at manifestKey of a manifest that does not name its
// media type itself. Of any other the object is empty: what a manifest says of itself
// is as true in every repository, and an empty object costs a disk next to nothing.
type manifestRecord struct {
	MediaType string `json:"media_type"`
}

// encodeManifest makes the object at manifestKey.
func encodeManifest(mediaType string, manifest []byte) []byte {
	if core.MediaTypeOf(manifest) == mediaType {
		return nil
	}
	return encode(manifestRecord{mediaType})
}

// decodeManifest returns the media type that the object at manifestKey says.
func decodeManifest(key string, data, manifest []byte) (string, error) {
	if len(data) == 0 {
		mediaType := core.MediaTypeOf(manifest)
		if mediaType == "" {
			return "", fmt.Errorf("record %s is damaged: it is empty, and the manifest does not name its media type", key)
		}
		return mediaType, nil
	}
	record, err := decode[manifestRecord](key, data)
	return record.MediaType, err
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
		return record, fmt.Errorf("record %s is damaged: %w", key, err)
	}
	return record, nil
}

// checkDigest tells whether a record that was decoded names one. A power cut can leave
// another file under its name, on a file system without a journal.
func checkDigest(key string, d digest.Digest) error {
	if _, err := core.ParseDigest(string(d)); err != nil {
		return fmt.Errorf("record %s is damaged: %v", key, err) // not the client's mistake
	}
	return nil
}
