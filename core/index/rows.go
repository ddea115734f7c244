package index

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/eblume/caddy-registry/core"
)

// The rows of the catalog. A repository's part of a key ends with 0, digests are packed, times
// are as newestFirst has them, and values are JSON unless said otherwise.
var (
	imagesBucket       = []byte("images")        // repository digest -> core.ImageFacts
	imagesPushedBucket = []byte("images pushed") // repository time digest -> nothing
	imagesPulledBucket = []byte("images pulled") // repository time digest -> nothing
	namedBucket        = []byte("named")         // repository digest -> what it names, packed
	usersBucket        = []byte("users")         // repository digest digest -> nothing: the second names the first
	contentBucket      = []byte("content")       // digest repository -> how it is held and its size, as holding
	statesBucket       = []byte("states")        // repository tag -> tagStates
	versionsBucket     = []byte("versions")      // repository inverted-version tag -> nothing
	tagsPushedBucket   = []byte("tags pushed")   // repository time tag -> nothing
	tagsPulledBucket   = []byte("tags pulled")   // repository time tag -> nothing
	aliasesBucket      = []byte("aliases")       // repository digest tag -> nothing
	pullsBucket        = []byte("pulls")         // repository "d" digest, or "t" tag -> core.PullCount
	daysBucket         = []byte("pull days")     // repository -> pulls by day, at most core.MaxPullDays
	sumsBucket         = []byte("sums")          // repository -> sums

	// The orders of repositories have each twice: behind an empty group, and behind its first
	// component. A group ends with 0.
	reposNamedBucket  = []byte("repos named")  // group repository -> nothing
	reposPushedBucket = []byte("repos pushed") // group time repository -> nothing
	reposPulledBucket = []byte("repos pulled") // group time repository -> nothing
	reposSizeBucket   = []byte("repos size")   // group inverted-size repository -> nothing
)

// catalogBuckets are all of them.
var catalogBuckets = [][]byte{
	imagesBucket, imagesPushedBucket, imagesPulledBucket, namedBucket, usersBucket, contentBucket, statesBucket,
	versionsBucket, tagsPushedBucket, tagsPulledBucket, aliasesBucket, pullsBucket, daysBucket, sumsBucket, reposNamedBucket,
	reposPushedBucket, reposPulledBucket, reposSizeBucket,
}

// tagStates is what a tag names and named.
type tagStates struct {
	core.TagState
	Before []core.TagState `json:"before,omitempty"`
}

// sums are the figures of a repository.
type sums struct {
	Tags      int64          `json:"tags"`
	Manifests int64          `json:"manifests"`
	Bytes     int64          `json:"bytes"`
	OnlyHere  int64          `json:"only"`
	Newest    string         `json:"newest,omitempty"`
	Says      core.Says      `json:"says,omitzero"` // the image of the newest tag
	Pushed    time.Time      `json:"pushed,omitzero"`
	Pulls     core.PullCount `json:"pulls"`
}

// empty reports whether the repository holds nothing.
func (s sums) empty() bool { return s.Tags == 0 && s.Manifests == 0 && s.Bytes == 0 }

// listed reports whether lists have the repository: as those of the protocol, only with a manifest.
func (s sums) listed() bool { return s.Manifests > 0 }

// holding is how a repository holds content.
type holding struct {
	blob, manifest bool
	size           int64
}

const (
	asBlob     = 1
	asManifest = 2
)

func (h holding) pack() []byte {
	flags := byte(0)
	if h.blob {
		flags |= asBlob
	}
	if h.manifest {
		flags |= asManifest
	}
	return binary.BigEndian.AppendUint64([]byte{flags}, uint64(h.size))
}

func unpackHolding(value []byte) holding {
	if len(value) != 9 {
		return holding{}
	}
	return holding{
		blob: value[0]&asBlob != 0, manifest: value[0]&asManifest != 0, size: int64(binary.BigEndian.Uint64(value[1:])),
	}
}

// The first byte of a packed digest, in the order of the digests' texts.
const (
	sha256Byte = 1
	sha512Byte = 2
)

// pack returns the bytes of a digest, which sort as its text does.
func pack(d digest.Digest) []byte {
	first := byte(sha256Byte)
	if d.Algorithm() == digest.SHA512 {
		first = sha512Byte
	}
	raw, err := hex.DecodeString(d.Encoded())
	if err != nil {
		panic(fmt.Sprintf("digest %q was not checked", d))
	}
	return append([]byte{first}, raw...)
}

// unpack reads a digest and returns the rest. The digest is empty if it is malformed.
func unpack(b []byte) (d digest.Digest, rest []byte) {
	algorithm, n := digest.SHA256, 33
	if len(b) > 0 && b[0] == sha512Byte {
		algorithm, n = digest.SHA512, 65
	}
	if len(b) < n || b[0] != sha256Byte && b[0] != sha512Byte {
		return "", nil
	}
	return digest.NewDigestFromEncoded(algorithm, hex.EncodeToString(b[1:n])), b[n:]
}

// timeBytes is the length of a time in a key.
const timeBytes = 8

// newestFirst returns bytes that sort later times first, to the millisecond, and no time last.
func newestFirst(t time.Time) []byte {
	ms := int64(0)
	if !t.IsZero() {
		ms = max(0, t.UnixMilli())
	}
	return largestFirst(ms)
}

// timeOf reads a time as newestFirst writes it, and returns the rest.
func timeOf(b []byte) (time.Time, []byte) {
	ms := int64(^binary.BigEndian.Uint64(b))
	if ms == 0 {
		return time.Time{}, b[timeBytes:]
	}
	return time.UnixMilli(ms).UTC(), b[timeBytes:]
}

// largestFirst returns bytes that sort larger numbers first.
func largestFirst(n int64) []byte { return binary.BigEndian.AppendUint64(nil, ^uint64(n)) }

// versionFirst returns bytes that sort the highest version first. An inverted key has no 0, and
// none of two keys is the beginning of another one: each ends with its own end.
func versionFirst(tag string) []byte {
	key := []byte(core.VersionKey(tag))
	for i := range key {
		key[i] = ^key[i]
	}
	return append(key, 0)
}

// in returns a key in a repository.
func in(repo string, parts ...[]byte) []byte {
	k := key(repo, "")
	for _, part := range parts {
		k = append(k, part...)
	}
	return k
}

// get reads one row; nil if there is none. It panics, as a cursor does, if it is not as it was
// written.
func get(tx *bbolt.Tx, bucket, key []byte) []byte { return valueOf(tx.Bucket(bucket), key) }

// valueOf is get for one of many rows of a bucket.
func valueOf(bucket *bbolt.Bucket, key []byte) []byte {
	value := bucket.Get(key)
	if value == nil {
		return nil
	}
	if len(value) < sumSize || binary.BigEndian.Uint32(value) != sum(key, value[sumSize:]) {
		panic(fmt.Sprintf("row %q", key))
	}
	rowsRead.Add(1)
	return value[sumSize:]
}

// read decodes the row at key. It reports whether there is one.
func read[T any](tx *bbolt.Tx, bucket, key []byte) (row T, ok bool) {
	value := get(tx, bucket, key)
	if value == nil {
		return row, false
	}
	return decoded[T](key, value), true
}

func decoded[T any](key, value []byte) (row T) {
	if err := json.Unmarshal(value, &row); err != nil {
		panic(fmt.Sprintf("row %q: %v", key, err))
	}
	return row
}

func encoded(row any) []byte {
	data, err := json.Marshal(row)
	if err != nil {
		panic(err) // rows hold texts, numbers and times only
	}
	return data
}
