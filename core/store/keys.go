package store

import (
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

const (
	blobsPrefix     = "blobs/"
	linksPrefix     = "links/"
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

func linkPrefix(d digest.Digest) string { return linksPrefix + content(d) + "/" }

func linkKey(d digest.Digest, repo string) string { return linkPrefix(d) + flat(repo) }

func manifestPrefix(d digest.Digest) string { return manifestsPrefix + content(d) + "/" }

func manifestKey(d digest.Digest, repo string) string { return manifestPrefix(d) + flat(repo) }

func tagPrefix(repo string) string { return reposPrefix + repo + tagsPart }

func tagKey(repo, tag string) string { return tagPrefix(repo) + tag }

func referrerPrefix(repo string, subject digest.Digest) string {
	return reposPrefix + repo + referrersPart + string(subject) + "/"
}

func referrerKey(repo string, subject, d digest.Digest) string {
	return referrerPrefix(repo, subject) + string(d)
}

// flat writes a repository name as one key component: + is in no repository name,
// and 255 bytes stay 255.
func flat(repo string) string { return strings.ReplaceAll(repo, "/", "+") }

func unflat(component string) string { return strings.ReplaceAll(component, "+", "/") }

// splitContent reads alg/ab/hex[/component] behind a prefix. A key that is not of
// this form was not written by the store; ok is false then.
func splitContent(key, prefix string) (d digest.Digest, component string, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(key, prefix), "/", 4)
	if len(parts) < 3 {
		return "", "", false
	}
	d, err := core.ParseDigest(parts[0] + ":" + parts[2])
	if err != nil || d.Encoded()[:2] != parts[1] {
		return "", "", false
	}
	if len(parts) == 4 {
		component = parts[3]
	}
	return d, component, true
}

// splitTag reads repos/<repo>/_tags/<tag>.
func splitTag(key string) (repo, tag string, ok bool) {
	return strings.Cut(strings.TrimPrefix(key, reposPrefix), tagsPart)
}

// Verify reads r and says whether it is the whole content that key promises: what
// a bucket asks about an upload that was committed before an unclean stop.
func Verify(key string, r io.Reader) error {
	d, _, ok := splitContent(key, blobsPrefix)
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
