package verify

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// maxNamed bounds what one report names: findings, repositories, manifests and tags
// together, some 20 MiB. Findings beyond it are still counted, moved and logged.
const maxNamed = 100_000

// Report is the outcome of a run. Its JSON is what `registry verify --json` prints.
type Report struct {
	// Repository is the one that the run was limited to; empty: the run covered everything.
	Repository string    `json:"repository,omitempty"`
	Repair     bool      `json:"repair"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	// Read is how much was read, by tree.
	Read map[string]Read `json:"read"`
	// Damaged lists content and records that are damaged, or missing and needed.
	Damaged []*Finding `json:"damaged"`
	// Absent are manifests that an index lists and that do not exist. An index may be pushed
	// without them, so that is not damage.
	Absent []Absence `json:"absent"`
	// Trouble is what could not be examined.
	Trouble []Trouble `json:"trouble"`
	// Found counts the entries of the three lists, including those left out because there are too
	// many.
	Found Found `json:"found"`
	// Moved is how many objects this run has moved to the quarantine.
	Moved int `json:"moved"`
	// Quarantine counts what is in the quarantine now, by tree.
	Quarantine map[string]Amount `json:"quarantine"`

	named int // see maxNamed
}

// Found is how much a run has found.
type Found struct {
	Damaged int `json:"damaged"`
	Absent  int `json:"absent"`
	Trouble int `json:"trouble"`
}

// Read is what a run has read of a tree.
type Read struct {
	Objects   int   `json:"objects"` // of content
	Bytes     int64 `json:"bytes"`   // of content and manifests, including what was read twice
	Manifests int   `json:"manifests"`
	Records   int   `json:"records"` // of tags and referrers
}

// Amount is a number of objects and their size.
type Amount struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// The kinds of findings.
const (
	// KindContent is content that does not have its digest.
	KindContent = "content"
	// KindMissing is content that a manifest requires or a tag names, and that is not there.
	KindMissing = "missing"
	// KindRecord is a damaged record.
	KindRecord = "record"
)

// Finding is one thing that is damaged.
type Finding struct {
	Tree string `json:"tree"`
	Kind string `json:"kind"`
	// Digest is that of the content, or of the manifest whose record is damaged.
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"` // of content, in bytes
	// Problem is a sentence.
	Problem string `json:"problem"`
	// Quarantined: the content has been moved to the quarantine.
	Quarantined bool `json:"quarantined"`
	// Images are the affected images, by repository.
	Images []*Image `json:"images"`
}

// Image is what a finding affects in a repository. Both lists are empty for a blob that no
// manifest names.
type Image struct {
	Repository string          `json:"repository"`
	Manifests  []digest.Digest `json:"manifests"`
	Tags       []string        `json:"tags"`
}

// Absence is a manifest that an index lists and that its repository does not hold.
type Absence struct {
	Tree       string        `json:"tree"`
	Repository string        `json:"repository"`
	Index      digest.Digest `json:"index"`
	Digest     digest.Digest `json:"digest"`
}

// Trouble is something that could not be examined. It may be whole or damaged.
type Trouble struct {
	Tree  string `json:"tree"`
	What  string `json:"what"`
	Error string `json:"error"`
}

// AddRecord adds a damaged record that another package has found.
func (r *Report) AddRecord(tree, problem string) {
	r.add(&Finding{Tree: tree, Kind: KindRecord, Problem: problem})
}

func newReport(o Options) *Report {
	return &Report{
		Repository: o.Repository, Repair: o.Repair, Started: time.Now().UTC(),
		Read: map[string]Read{}, Damaged: []*Finding{}, Absent: []Absence{}, Trouble: []Trouble{},
		Quarantine: map[string]Amount{},
	}
}

// room counts one more name, and reports whether there is room for it.
func (r *Report) room() bool {
	if r.named >= maxNamed {
		return false
	}
	r.named++
	return true
}

// add notes a finding, listed or not.
func (r *Report) add(f *Finding) {
	r.Found.Damaged++
	f.Images = []*Image{}
	if r.room() {
		r.Damaged = append(r.Damaged, f)
	}
}

func (r *Report) addAbsence(a Absence) {
	r.Found.Absent++
	if r.room() {
		r.Absent = append(r.Absent, a)
	}
}

func (r *Report) addTrouble(t Trouble) {
	r.Found.Trouble++
	if r.room() {
		r.Trouble = append(r.Trouble, t)
	}
}

// hit notes that f hits a repository.
func (r *Report) hit(f *Finding, repo string) *Image {
	i := slices.IndexFunc(f.Images, func(image *Image) bool { return image.Repository == repo })
	if i >= 0 {
		return f.Images[i]
	}
	image := &Image{Repository: repo, Manifests: []digest.Digest{}, Tags: []string{}}
	if r.room() {
		f.Images = append(f.Images, image)
	}
	return image
}

func (r *Report) hitManifest(f *Finding, repo string, d digest.Digest) {
	image := r.hit(f, repo)
	if last := len(image.Manifests) - 1; last >= 0 && image.Manifests[last] == d {
		return // it names the content twice
	}
	if r.room() {
		image.Manifests = append(image.Manifests, d)
	}
}

func (r *Report) hitTag(f *Finding, repo, tag string) {
	if image := r.hit(f, repo); r.room() {
		image.Tags = append(image.Tags, tag)
	}
}
