package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/bucket"
)

// ErrDamaged is the error for a record with invalid content. It is not a client's mistake,
// so it has no code in the protocol. Pushing the same content again repairs it.
var ErrDamaged = errors.New("damaged")

// linkRecord is the object at manifestKey, and at linkKey, where it is never read. If it is
// empty, the time of the object is the time of the push.
type linkRecord struct {
	// MediaType is empty if the manifest names its media type itself, which is the same in
	// every repository.
	MediaType string `json:"media_type,omitempty"`
	// Since is when the link was made, at most a second early. By is the caller that made it; it
	// is empty for an anonymous caller, for a mirror, and if unknown (layout 2 did not record
	// it).
	Since time.Time `json:"since,omitzero"`
	By    string    `json:"by,omitempty"`
	// Again is when it was pushed again without a tag, if that was a day later or more.
	Again time.Time `json:"again,omitzero"`
	// Left is when a tag last ceased to name the manifest.
	Left time.Time `json:"left,omitzero"`
}

// used is the last time at which the record was changed because the manifest was in use.
func (r linkRecord) used() time.Time { return latest(r.Since, r.Again, r.Left) }

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// decodeLink decodes the record at manifestKey. Errors: ErrDamaged.
func decodeLink(info bucket.Info, data []byte) (record linkRecord, err error) {
	if len(data) > 0 {
		if record, err = decode[linkRecord](info.Key, data); err != nil {
			return linkRecord{}, err
		}
	}
	if record.Since.IsZero() {
		record.Since = info.Time.UTC()
	}
	return record, nil
}

// saidType returns the media type for the record of a manifest: empty if the manifest names
// it itself.
func saidType(mediaType string, doc *core.Document) string {
	if doc.MediaType == mediaType {
		return ""
	}
	return mediaType
}

// decodeManifest returns the media type under which a manifest is served: that of its
// record, unless the document contradicts it or it is not a type of manifests (older
// versions accepted any). A manifest that names its media type itself survives a damaged
// record: both the type and the error are returned. Errors: ErrDamaged.
func decodeManifest(key string, data []byte, doc *core.Document) (string, error) {
	record, err := decodeLink(bucket.Info{Key: key}, data)
	if doc.MediaType == "" && err == nil && record.MediaType == "" {
		err = fmt.Errorf("record %s is %w: neither it nor the manifest names a media type", key, ErrDamaged)
	}
	if doc.MediaType == "" && err != nil {
		return "", err
	}
	return doc.ServedType(record.MediaType), err
}

// maxBefore bounds the predecessors in a tag's record, which is rewritten with every
// move: some 4 KiB.
const maxBefore = 20

// tagRecord is the object at tagKey.
type tagRecord struct {
	tagState
	// Before is what the tag named before, the newest first, maxBefore at most.
	Before []tagState `json:"before,omitempty"`
}

// tagState is what a tag named, and since when.
type tagState struct {
	// Nonce changes with every write.
	Nonce  string        `json:"nonce"`
	Digest digest.Digest `json:"digest"`
	Since  time.Time     `json:"since"`
	By     string        `json:"by,omitempty"` // the caller that set it, as in linkRecord
	// Seen is when a mirror last saw the tag name the digest; only predecessors have it.
	Seen time.Time `json:"seen,omitzero"`
	// Imported is true if an import set it: the next import may move the tag again.
	Imported bool `json:"imported,omitempty"`
}

// next is the record of a tag that moves from r.
func (r tagRecord) next(state tagState) tagRecord {
	before := []tagState{r.tagState}
	if r.Digest == "" { // there was none, or it cannot be read
		before = nil
	}
	before = append(before, r.Before...)
	return tagRecord{tagState: state, Before: before[:min(len(before), maxBefore)]}
}

// decodeTag decodes the record at tagKey. A record of layout 2 has `time` for since, and no
// nonce: every reader computes the same one for it. Errors: ErrDamaged.
func decodeTag(key string, data []byte) (tagRecord, error) {
	record, err := decode[struct {
		tagRecord
		Time time.Time `json:"time"`
	}](key, data)
	if err == nil {
		err = checkDigest(key, record.Digest)
	}
	if err != nil {
		return tagRecord{}, err
	}
	if record.Since.IsZero() {
		record.Since = record.Time
	}
	if record.Nonce == "" {
		sum := sha256.Sum256(data)
		record.Nonce = hex.EncodeToString(sum[:nonceBytes])
	}
	return record.tagRecord, nil
}

// nonceBytes is the length of nonces: no two writes of one tag may have the same one.
const nonceBytes = 8

func newNonce() string {
	var nonce [nonceBytes]byte
	rand.Read(nonce[:])
	return hex.EncodeToString(nonce[:])
}

// maxCaller bounds the name of a record's creator. Names of accounts are far shorter; a
// token's issuer can make longer ones, and they are not used to look anything up.
const maxCaller = 255

// caller returns the name of the caller for a record. It is empty in a mirror, where
// content is not pushed, and where the first reader's name is private.
func (s *Store) caller(ctx context.Context) string {
	if s.sparse {
		return ""
	}
	name := core.AccessFrom(ctx).Caller
	if len(name) > maxCaller {
		name = strings.ToValidUTF8(name[:maxCaller], "")
	}
	return name
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
		var none T // some fields may have been decoded
		return none, fmt.Errorf("record %s is %w: %w", key, ErrDamaged, err)
	}
	return record, nil
}

// checkDigest checks that a decoded record names a digest. On a file system without a
// journal, a power cut can leave another file under its name.
func checkDigest(key string, d digest.Digest) error {
	if _, err := core.ParseDigest(string(d)); err != nil {
		return fmt.Errorf("record %s is %w: names no digest", key, ErrDamaged) // err is not wrapped: it is not the client's mistake
	}
	return nil
}
