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

// ErrDamaged is what a record is that does not say what it must. No client made it so,
// and none gets a code of its own for it. Pushing the same again puts it right.
var ErrDamaged = errors.New("damaged")

// linkRecord is the object at manifestKey, and at linkKey, where nothing reads it. An
// empty one says nothing: the time of the object is the time of the push.
type linkRecord struct {
	// MediaType is empty if the manifest names its media type itself: what it says of
	// itself is as true in every repository.
	MediaType string `json:"media_type,omitempty"`
	// Since is when the link was made, a second early at most, and By who made it;
	// empty: an anonymous caller, a mirror, or nobody knows (layout 2 did not say).
	Since time.Time `json:"since,omitzero"`
	By    string    `json:"by,omitempty"`
	// Again is when it was pushed again without a tag, if that was a day later or more.
	Again time.Time `json:"again,omitzero"`
	// Left is when a tag last ceased to name the manifest.
	Left time.Time `json:"left,omitzero"`
}

// used is when the record was last told that somebody wants the manifest.
func (r linkRecord) used() time.Time { return latest(r.Since, r.Again, r.Left) }

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// decodeLink reads what is at manifestKey. Errors: ErrDamaged.
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

// saidType is what the record of a manifest must say of its media type: nothing, if the
// manifest does.
func saidType(mediaType string, doc *core.Document) string {
	if doc.MediaType == mediaType {
		return ""
	}
	return mediaType
}

// decodeManifest returns the media type under which a manifest is served: what its record
// says, unless the document contradicts it or it is not a type of manifests; older versions
// took any. A record that is damaged costs no manifest that names its media type itself: both
// are returned then. Errors: ErrDamaged.
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

// tagState is what a tag named from some moment on.
type tagState struct {
	// Nonce is another one with every write.
	Nonce  string        `json:"nonce"`
	Digest digest.Digest `json:"digest"`
	Since  time.Time     `json:"since"`
	By     string        `json:"by,omitempty"` // who made it so, as in linkRecord
}

// next is the record of a tag that moves from r.
func (r tagRecord) next(state tagState) tagRecord {
	before := []tagState{r.tagState}
	if r.Digest == "" { // there was none, or nobody can read what it was
		before = nil
	}
	before = append(before, r.Before...)
	return tagRecord{tagState: state, Before: before[:min(len(before), maxBefore)]}
}

// decodeTag reads what is at tagKey. A record of layout 2 has `time` for since, and no
// nonce: it is given one that every reader computes alike. Errors: ErrDamaged.
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

// nonceBytes is how long nonces are: no two of the writes of one tag may be alike.
const nonceBytes = 8

func newNonce() string {
	var nonce [nonceBytes]byte
	rand.Read(nonce[:])
	return hex.EncodeToString(nonce[:])
}

// maxCaller bounds the name of who made a record. Those of accounts are far shorter; a
// token's issuer can make longer ones, and nothing is looked up by them here.
const maxCaller = 255

// caller is who asks, for a record. What a mirror keeps nobody has pushed: who happened to
// ask for it first is none of anybody's business.
func (s *Store) caller(ctx context.Context) string {
	if s.options.Sparse { // never changes
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
