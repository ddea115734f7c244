package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// manifestRecord is the object at manifestKey.
type manifestRecord struct {
	MediaType string    `json:"media_type"`
	Size      int64     `json:"size"` // bytes
	Time      time.Time `json:"time"` // of the first push to this repository
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
