package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

const (
	blobsPrefix     = "blobs/"
	manifestsPrefix = "manifests/"
	reposPrefix     = "repos/"
	tagsPart        = "/_tags/"
	referrersPart   = "/_referrers/"
)

// content is alg/ab/hex: two hex digits between, so that no directory of a disk
// has more than some thousands of entries.
func content(d digest.Digest) string {
	hex := d.Encoded()
	return d.Algorithm().String() + "/" + hex[:2] + "/" + hex
}

func blobKey(d digest.Digest) string { return blobsPrefix + content(d) }

// linkKey is in the same directory as the content, so that on a disk one sync makes both durable.
func linkKey(d digest.Digest, repo string) string { return holdKey(blobsPrefix, d, repo) }

func manifestKey(d digest.Digest, repo string) string { return holdKey(manifestsPrefix, d, repo) }

// maxComponent is the maximum length of a component of a key, in bytes (see bucket.Bucket).
const maxComponent = 255

// holdKey is the key under prefix for the fact that repo holds d. Both are one
// component, because a directory for each digest would cost a disk more than the object
// in it. If they are too long for that, the repository is a separate component. All keys of a
// digest begin with prefix and content(d), and are adjacent in the order of keys.
func holdKey(prefix string, d digest.Digest, repo string) string {
	separator := holdMark
	if len(d.Encoded())+len(separator)+len(repo) > maxComponent {
		separator = holdMark + "/"
	}
	return prefix + content(d) + separator + flat(repo)
}

// holdMark ends the digest in a holdKey. No repository begins with it.
const holdMark = "+"

func tagPrefix(repo string) string { return reposPrefix + repo + tagsPart }

func tagKey(repo, tag string) string { return tagPrefix(repo) + tag }

func referrerPrefix(repo string, subject digest.Digest) string {
	return reposPrefix + repo + referrersPart + string(subject) + "/"
}

// referrerKey ends in a mark of the artifact type, so that a list of one type reads no
// entry of another. Its keys are in the order of digests.
func referrerKey(repo string, subject, d digest.Digest, artifactType string) string {
	return referrerPrefix(repo, subject) + string(d) + holdMark + typeMark(artifactType)
}

// typeMark is short because types are long, and in capitals. Two types with the same
// mark are distinguished by the entries' content.
func typeMark(artifactType string) string {
	sum := sha256.Sum256([]byte(artifactType))
	return hex.EncodeToString(sum[:8])
}

// afterReferrer is after all keys of d, and before those of the next digest.
func afterReferrer(repo string, subject, d digest.Digest) string {
	return referrerPrefix(repo, subject) + string(d) + holdMark + "z"
}

// splitReferrer reads repos/<repo>/_referrers/<subject>/<digest>+<mark>. Layout 2 had no
// mark.
func splitReferrer(key string) (repo string, subject, d digest.Digest, mark string, ok bool) {
	repo, rest, ok := strings.Cut(strings.TrimPrefix(key, reposPrefix), referrersPart)
	first, last, found := strings.Cut(rest, "/")
	last, mark, _ = strings.Cut(last, holdMark)
	if !ok || !found {
		return "", "", "", "", false
	}
	subject, err := core.ParseDigest(first)
	if err == nil {
		d, err = core.ParseDigest(last)
	}
	return repo, subject, d, mark, err == nil
}

// flat writes a repository name as one key component: no repository name contains +, and
// 255 bytes stay 255.
func flat(repo string) string { return strings.ReplaceAll(repo, "/", "+") }

func unflat(component string) string { return strings.ReplaceAll(component, "+", "/") }

// splitBlob undoes blobKey. If ok is false, the key does not have this form and was not
// written by the store.
func splitBlob(key string) (d digest.Digest, ok bool) {
	d, rest, ok := splitContent(key, blobsPrefix)
	return d, ok && rest == ""
}

// splitHold undoes holdKey, as splitBlob does.
func splitHold(key, prefix string) (d digest.Digest, repo string, ok bool) {
	d, rest, ok := splitContent(key, prefix)
	if !ok || rest == "" {
		return "", "", false
	}
	repo = unflat(strings.TrimPrefix(rest[len(holdMark):], "/"))
	return d, repo, repo != "" && holdKey(prefix, d, repo) == key // each key has one spelling
}

// splitContent reads alg/ab/hex after a prefix, and returns the rest.
func splitContent(key, prefix string) (d digest.Digest, rest string, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(key, prefix), "/", 3)
	if len(parts) < 3 {
		return "", "", false
	}
	hex := parts[2]
	if end := strings.IndexAny(hex, holdMark+"/"); end >= 0 {
		hex, rest = hex[:end], hex[end:]
	}
	d, err := core.ParseDigest(parts[0] + ":" + hex)
	if err != nil || d.Encoded()[:2] != parts[1] {
		return "", "", false
	}
	return d, rest, true
}

// splitTag reads repos/<repo>/_tags/<tag>.
func splitTag(key string) (repo, tag string, ok bool) {
	return strings.Cut(strings.TrimPrefix(key, reposPrefix), tagsPart)
}

// Verify reads r and checks that it is the whole content that key promises. A bucket
// calls it for an upload that was committed before an unclean stop.
func Verify(key string, r io.Reader) error {
	d, ok := splitBlob(key)
	if !ok {
		return fmt.Errorf("verify %s: not the key of a blob", key)
	}
	verifier := d.Verifier()
	if _, err := io.Copy(verifier, r); err != nil {
		return fmt.Errorf("verify %s: %w", key, err)
	}
	if !verifier.Verified() {
		return fmt.Errorf("verify %s: content has another digest", key)
	}
	return nil
}
