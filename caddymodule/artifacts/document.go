package artifacts

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// document reads a JSON document. Kinds are told by the members that a document has, not by the
// media type that somebody claims for it, and in whichever order members come: an SBOM may be the
// predicate of a statement that is the payload of an envelope.
type document struct {
	*tokens
	*Content
	window Window
	nested int
}

// readJSON reads a JSON document. An error is one of r's.
func readJSON(c *Content, r io.Reader, w Window) error {
	return readMembers(c, r, w, (*document).member)
}

// readMembers calls member with each name of the object that a document is; it must consume the value.
func readMembers(c *Content, r io.Reader, w Window, member func(d *document, name string) error) error {
	from := &source{r: r, left: MaxDocument}
	d := &document{tokens: newTokens(from), Content: c, window: w}
	err := d.object(func(name string) error { return member(d, name) })
	switch {
	case from.failed != nil:
		return from.failed
	case from.left < 0:
		c.Cut = "It is larger than 4 MiB, of which the first are shown."
	case errors.Is(err, errEnough):
		c.Cut = fmt.Sprintf("It has more than %d rows, of which the first are shown.", MaxRows)
	case errors.Is(err, errDeep):
		c.Cut = fmt.Sprintf("It is nested more than %d levels deep, and is shown up to there.", maxDepth)
	case err != nil:
		c.Cut = "It is not valid JSON from byte " + strconv.FormatInt(d.decoder.InputOffset(), 10) + " on."
	}
	return nil
}

// source passes on at most left bytes, and remembers what went wrong with r.
type source struct {
	r      io.Reader
	left   int64 // below 0: there are more
	failed error
}

func (s *source) Read(p []byte) (int, error) {
	if s.left < 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left+1)])
	if s.left -= int64(n); s.left < 0 {
		return n - 1, io.EOF
	}
	if err != nil && err != io.EOF {
		s.failed = err
	}
	return n, err
}

// isKind sets the kind, unless a more specific one is known.
func (d *document) isKind(kind string) {
	if d.Kind == "" || d.Kind == Statement || d.Kind == Signature {
		d.Kind = kind
	}
}

func (d *document) say(name, value string) {
	if value != "" && len(d.About) < maxFields {
		d.About = append(d.About, Field{name, value})
	}
}

// said consumes a text and says it.
func (d *document) said(name string) error {
	value, err := d.text()
	d.say(name, value)
	return err
}

// row counts a row, and keeps it if it is in the window.
func (d *document) row(values ...string) error {
	if d.Total == MaxRows {
		return errEnough
	}
	d.Total++
	if find := strings.ToLower(d.window.Find); find != "" {
		found := false
		for _, value := range values {
			found = found || strings.Contains(strings.ToLower(value), find)
		}
		if !found {
			return nil
		}
	}
	if d.Matched++; d.Matched > d.window.From && len(d.Rows) < d.window.Rows {
		d.Rows = append(d.Rows, values)
	}
	return nil
}

// rows reads an array of rows. A document has rows of one kind: those that come first.
func (d *document) rows(kind string, columns []string, element func() error) error {
	if d.Columns != nil {
		return d.skip()
	}
	d.isKind(kind)
	d.Columns = columns
	return d.array(element)
}

// member reads a member of a document, or of the predicate of a statement.
func (d *document) member(name string) error {
	switch name {
	case "spdxVersion", "bomFormat":
		d.isKind(SBOM)
		value, err := d.text()
		d.Format = value + d.Format // CycloneDX has its version apart
		return err
	case "specVersion":
		value, err := d.text()
		d.Format += " " + value
		return err
	case "packages":
		return d.rows(SBOM, packages, d.spdx)
	case "@context":
		return d.context()
	case "@graph":
		return d.graph()
	case "components":
		return d.rows(SBOM, packages, d.component)
	case "artifacts":
		return d.rows(SBOM, packages, d.syft)
	case "creationInfo":
		return d.object(d.creation)
	case "metadata":
		return d.object(d.metadata)
	case "statements":
		return d.rows(VEX, []string{"Vulnerability", "Product", "Status", "Justification"}, d.vex)

	case "materials":
		return d.rows(Provenance, materials, d.material)
	case "buildDefinition":
		d.isKind(Provenance)
		return d.object(d.definition)
	case "runDetails":
		d.isKind(Provenance)
		return d.object(d.run)
	case "builder":
		d.isKind(Provenance)
		return d.object(d.builder)
	case "buildType":
		return d.said("Kind of build")
	case "invocation":
		return d.object(d.invocation)

	case "predicateType":
		d.isKind(Statement)
		return d.said("Statement")
	case "subject":
		return d.array(d.subject)
	case "predicate":
		return d.object(d.member)
	case "payload":
		return d.payload()
	case "dsseEnvelope":
		return d.object(d.member)

	case "critical": // https://github.com/containers/image/blob/main/docs/containers-signature.5.md
		d.isKind(Signature)
		return d.object(d.critical)
	case "messageSignature":
		d.isKind(Signature)
	case "verificationMaterial":
		d.isKind(Signature)
		return d.object(d.material509)
	case "header": // of a JSON web signature, as Notation writes it
		d.isKind(Signature)
		return d.object(d.material509)
	}
	return d.skip()
}

// payload reads the document in an envelope (DSSE), in base64 of either alphabet.
func (d *document) payload() error {
	text, err := d.long()
	if err != nil || d.nested == maxNested {
		return err
	}
	text = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(text)
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil // it is opaque
	}
	inner := &document{tokens: newTokens(bytes.NewReader(data)), Content: d.Content, window: d.window}
	inner.nested = d.nested + 1
	err = inner.object(inner.member)
	if errors.Is(err, errEnough) || errors.Is(err, errDeep) {
		return err
	}
	if err != nil && inner.decoder.InputOffset() > 1 {
		d.Cut = "What it has as its payload is not valid JSON."
	}
	return nil
}

// subject reads what a statement is about: a name and digests.
func (d *document) subject() error {
	var name, sum string
	err := d.object(func(member string) (err error) {
		switch member {
		case "name":
			name, err = d.text()
		case "digest":
			sum, err = d.digest()
		default:
			err = d.skip()
		}
		return err
	})
	d.say("About", strings.TrimSpace(name+" "+sum))
	return err
}

// digest reads a set of digests, as {"sha256": "…"}, and returns the first.
func (d *document) digest() (first string, err error) {
	err = d.object(func(algorithm string) error {
		value, err := d.text()
		if first == "" && value != "" {
			first = clip(algorithm + ":" + value)
		}
		return err
	})
	return first, err
}

// critical reads a signature of the simple signing format: which image it signs.
func (d *document) critical(name string) error {
	switch name {
	case "identity", "image":
		return d.object(d.critical)
	case "docker-reference":
		return d.said("Signs")
	case "docker-manifest-digest":
		return d.said("Digest")
	}
	return d.skip()
}
