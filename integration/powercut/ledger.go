package powercut

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

// Name is a tag or a manifest of a repository, or a blob when Blob is set.
type Name struct {
	Repo string
	Ref  core.Reference
	Blob bool
}

func tagName(repo, tag string) Name {
	return Name{Repo: repo, Ref: core.Reference{Tag: tag}}
}

func manifestName(repo string, d digest.Digest) Name {
	return Name{Repo: repo, Ref: core.Reference{Digest: d}}
}

func blobName(repo string, d digest.Digest) Name {
	return Name{Repo: repo, Ref: core.Reference{Digest: d}, Blob: true}
}

func (n Name) String() string { return n.Repo + ":" + n.Ref.String() }

// Ledger is what one client knows about the registry: the possible digests of each name, where
// an empty one means "not there". There is one if the last operation on the name was answered,
// and several if an answer never came.
//
// With a clock it also remembers its state at each earlier moment, for the test that cuts the
// power at many points of one run.
type Ledger struct {
	names map[Name][]digest.Digest
	clock func() int
	past  []change
}

// change has the possible digests of a name from a moment on; none means unknown.
type change struct {
	at   int
	name Name
	may  []digest.Digest
}

// NewLedger returns an empty ledger. clock never runs back: writes before the answer of an
// operation are before the time that it returns afterwards. Nil: no history is kept.
func NewLedger(clock func() int) *Ledger {
	return &Ledger{names: make(map[Name][]digest.Digest), clock: clock}
}

// AsOf is the ledger as it was at a moment: an operation that was answered by then
// counts, one that had only begun may or may not have happened.
func (l *Ledger) AsOf(at int) *Ledger {
	then := NewLedger(nil)
	for _, c := range l.past {
		if c.at > at {
			break
		}
		then.set(c.name, c.may)
	}
	return then
}

// Len is the number of names that are known.
func (l *Ledger) Len() int { return len(l.names) }

// set records the possible digests of n. None means unknown.
func (l *Ledger) set(n Name, may []digest.Digest) {
	if _, known := l.names[n]; !known && len(may) == 0 {
		return
	}
	if len(may) == 0 {
		delete(l.names, n)
	} else {
		l.names[n] = may
	}
	if l.clock != nil {
		l.past = append(l.past, change{l.clock(), n, may})
	}
}

// try records that an operation began which may make d the digest of n.
func (l *Ledger) try(n Name, d digest.Digest) {
	may := slices.Clone(l.names[n])
	if len(may) == 0 {
		may = []digest.Digest{""}
	}
	if !slices.Contains(may, d) {
		may = append(may, d)
	}
	l.set(n, may)
}

// acknowledge records that d is the digest of n.
func (l *Ledger) acknowledge(n Name, d digest.Digest) { l.set(n, []digest.Digest{d}) }

// forget notes that nothing is known of n.
func (l *Ledger) forget(n Name) { l.set(n, nil) }

// may reports whether d is a possible digest of n.
func (l *Ledger) may(n Name, d digest.Digest) bool { return slices.Contains(l.names[n], d) }

// Losses compares a registry with the ledger. It returns a sentence for each acknowledged
// change that is missing, and for each incomplete image.
func (l *Ledger) Losses(reg core.Registry) []string {
	var losses []string
	for n, allowed := range l.names {
		got, err := look(reg, n)
		switch {
		case err != nil:
			losses = append(losses, fmt.Sprintf("%s: %v", n, err))
		case !slices.Contains(allowed, got):
			losses = append(losses, fmt.Sprintf("%s is %q, acknowledged was %q", n, got, allowed))
		case got != "" && !n.Blob:
			if err := Whole(reg, n.Repo, n.Ref, len(allowed) == 1); err != nil {
				losses = append(losses, fmt.Sprintf("%s is not whole: %v", n, err))
			}
		}
	}
	slices.Sort(losses)
	return losses
}

// look returns the digest of n in the registry.
func look(reg core.Registry, n Name) (digest.Digest, error) {
	var desc core.Descriptor
	var err error
	if n.Blob {
		desc, err = reg.Stat(context.Background(), n.Repo, n.Ref.Digest)
	} else {
		desc, err = reg.Resolve(context.Background(), n.Repo, n.Ref)
	}
	if isUnknown(err) {
		return "", nil
	}
	return desc.Digest, err
}

func isUnknown(err error) bool {
	return errors.Is(err, core.ErrManifestUnknown) || errors.Is(err, core.ErrNameUnknown) || errors.Is(err, core.ErrBlobUnknown)
}

// Whole reads a manifest and everything that it needs, and computes each digest.
// If it was acknowledged it must be among the referrers of its subject; before
// that, the two appear one after the other.
func Whole(reg core.Registry, repo string, ref core.Reference, acknowledged bool) error {
	ctx := context.Background()
	m, err := reg.Manifest(ctx, repo, ref)
	if err != nil {
		return err
	}
	if got := digest.FromBytes(m.Bytes); got != m.Descriptor.Digest {
		return fmt.Errorf("the bytes of %s have digest %s", m.Descriptor.Digest, got)
	}
	doc, err := core.Inspect(m.Bytes)
	if err != nil {
		return err
	}
	for _, desc := range doc.Required() {
		if err := readBlob(ctx, reg, repo, desc); err != nil {
			return fmt.Errorf("blob %s: %w", desc.Digest, err)
		}
	}
	if doc.Subject == nil || !acknowledged {
		return nil
	}
	for referrer, err := range reg.Referrers(ctx, repo, doc.Subject.Digest, "", "") {
		if err != nil || referrer.Digest == m.Descriptor.Digest {
			return err
		}
	}
	return fmt.Errorf("%s is not among the referrers of %s", m.Descriptor.Digest, doc.Subject.Digest)
}

func readBlob(ctx context.Context, reg core.Registry, repo string, desc core.Descriptor) error {
	b, err := reg.Blob(ctx, repo, desc.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	verifier := desc.Digest.Verifier()
	n, err := io.Copy(verifier, b)
	switch {
	case err != nil:
		return err
	case n != desc.Size || !verifier.Verified():
		return fmt.Errorf("%d bytes of another digest, want %d", n, desc.Size)
	}
	return nil
}
