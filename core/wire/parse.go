package wire

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/eblume/caddy-registry/core"
)

const (
	// maxTags bounds the tags of one push. The spec requires at least ten; each costs a
	// write, and one request must not hold a repository's lock for long.
	maxTags = 100
	// maxUploadID is the bound that core.Upload promises for its IDs.
	maxUploadID = 64
	// maxArtifactType bounds a media type (RFC 6838: twice 127, and the slash).
	maxArtifactType = 255
	// maxNS bounds `ns`: a DNS name and a port.
	maxNS = 255 + len(":65535")
)

// Parse reads the method and the URL of a request under /v2. It does no I/O.
//
// The path is taken as it was sent. Clients never percent-encode names and the words
// between them, so encoded ones are refused: another spelling cannot bypass a policy.
// Only the last element is decoded, because some clients encode the colon of a digest.
//
// Errors, for Fail to answer: 404 for a path without an endpoint, 405 with Allow for a
// method that the endpoint does not have, 400 for a malformed query, and
// core.ErrNameInvalid, ErrTagInvalid, ErrDigestInvalid, ErrBlobUploadUnknown,
// ErrNameUnknown (an `ns` that is not a host). The Request then has the fields that
// were parsed before.
func Parse(method string, u *url.URL) (Request, error) {
	req := Request{N: -1}
	rt, name, last, err := split(u.EscapedPath())
	if err != nil {
		return req, err
	}
	kind, err := rt.kind(method)
	if err != nil {
		return req, err
	}
	req.Kind = kind
	if rt.named {
		if req.Name, err = core.ParseName(name); err != nil {
			return req, err
		}
		req.Repo = req.Name
	}
	if strings.IndexByte(last, '%') >= 0 {
		if last, err = url.PathUnescape(last); err != nil {
			return req, fmt.Errorf("%w: %w", errRoute, err)
		}
	}
	if err := req.parseLast(rt, last); err != nil {
		return req, err
	}
	return req, req.parseQuery(u.RawQuery)
}

// parseLast validates the last element of the path.
func (req *Request) parseLast(rt *route, last string) (err error) {
	switch rt {
	case manifestRoute:
		req.Ref, err = core.ParseReference(last)
	case blobRoute, referrersRoute:
		req.Digest, err = core.ParseDigest(last)
	case uploadRoute:
		if !validUploadID(last) {
			return fmt.Errorf("%w: not an ID of this registry", core.ErrBlobUploadUnknown)
		}
		req.UploadID = last
	}
	return err
}

// parseQuery reads the parameters that req.Kind has, and `ns`, which all have. Others
// are ignored, because clients add their own.
func (req *Request) parseQuery(raw string) error {
	if raw == "" {
		if req.Kind == StartUpload {
			req.DigestAlgorithm = digest.Canonical
		}
		return req.checkDigest()
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrQuery, err)
	}
	ns := query.Get("ns")
	if !validNS(ns) {
		return fmt.Errorf("%w: ns is not the name of a host", core.ErrNameUnknown)
	}
	req.NS = ns
	switch req.Kind {
	case StartUpload:
		return req.parseStart(query)
	case PutUpload:
		if s := query.Get("digest"); s != "" {
			req.Digest, err = core.ParseDigest(s)
		}
	case PutManifest:
		err = req.parseTags(query["tag"])
	case ListTags, Catalog, ListReferrers:
		err = req.parsePage(query)
	}
	if err != nil {
		return err
	}
	return req.checkDigest()
}

// checkDigest refuses a closing PUT without a digest.
func (req *Request) checkDigest() error {
	if req.Kind == PutUpload && req.Digest == "" {
		return fmt.Errorf("%w: the closing PUT of an upload needs the parameter digest", core.ErrDigestInvalid)
	}
	return nil
}

// parseStart reads the parameters that decide which of the four ways an upload begins.
func (req *Request) parseStart(query url.Values) (err error) {
	req.DigestAlgorithm = digest.Canonical
	if s := query.Get("digest-algorithm"); s != "" {
		req.DigestAlgorithm = digest.Algorithm(s)
		if !core.Supported(req.DigestAlgorithm) {
			return fmt.Errorf("%w: digest-algorithm is neither sha256 nor sha512", core.ErrDigestInvalid)
		}
	}
	if s := query.Get("digest"); s != "" {
		if req.Digest, err = core.ParseDigest(s); err != nil {
			return err
		}
		req.DigestAlgorithm = req.Digest.Algorithm()
	}
	if mount, err := core.ParseDigest(query.Get("mount")); err == nil {
		req.DigestAlgorithm = mount.Algorithm()
		// An invalid digest or repository counts as not found: the client then uploads
		// (spec.md, end-11). Without a name, any repository may be the source.
		from := query.Get("from")
		if _, err := core.ParseName(from); from == "" || err == nil {
			req.Mount, req.From = mount, from
		}
	}
	return nil
}

func (req *Request) parseTags(tags []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%w: %d in one request, at most %d are allowed", errTags, len(tags), maxTags)
	}
	for _, tag := range tags {
		if _, err := core.ParseTag(tag); err != nil {
			return err
		}
		if !slices.Contains(req.Tags, tag) {
			req.Tags = append(req.Tags, tag)
		}
	}
	return nil
}

func (req *Request) parsePage(query url.Values) (err error) {
	if s := query.Get("n"); s != "" {
		if req.N, err = strconv.Atoi(s); err != nil || req.N < 0 {
			req.N = -1
			return fmt.Errorf("%w: n is not a number of entries", ErrQuery)
		}
	}
	if s := query.Get("last"); s != "" {
		switch req.Kind {
		case ListTags:
			_, err = core.ParseTag(s)
		case Catalog:
			if isCursor(s) {
				if len(s) > maxCursor {
					err = ErrQuery
				}
				break
			}
			_, err = core.ParseName(s)
		case ListReferrers:
			_, err = core.ParseDigest(s)
		}
		if err != nil {
			return fmt.Errorf("last: %w", err)
		}
		req.Last = s
	}
	if req.Kind == ListReferrers {
		req.ArtifactType = query.Get("artifactType")
		if len(req.ArtifactType) > maxArtifactType {
			return fmt.Errorf("%w: artifactType is longer than %d bytes", ErrQuery, maxArtifactType)
		}
	}
	return nil
}

// validUploadID checks the form that core.Upload promises; other IDs were not made
// here.
func validUploadID(s string) bool {
	if s == "" || len(s) > maxUploadID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// validNS accepts the characters of a host and a port: the answer's headers and URLs
// repeat ns.
func validNS(s string) bool {
	if len(s) > maxNS {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20 // lower case
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && strings.IndexByte(".-_:[]", s[i]) < 0 {
			return false
		}
	}
	return true
}
