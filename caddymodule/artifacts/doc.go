// Package artifacts reads what artifacts say: SBOMs (SPDX, CycloneDX, Syft), statements of in-toto
// with SLSA provenance in them, VEX, signatures with their certificates, Helm charts, WebAssembly.
// Everything in them is written by strangers, so files are read token by token, in one pass, and
// only the rows of one page are kept, and names of licences beside them. Nothing is verified.
//
//	files, _ := artifacts.Files(manifest)
//	content, err := artifacts.Read(files[0].MediaType, blob, artifacts.Window{Rows: 50})
package artifacts

import "time"

// Bounds of what is read.
const (
	// MaxDocument is the largest JSON document that is read, in bytes.
	MaxDocument = 4 << 20
	// MaxRows is how many rows of a document are read.
	MaxRows = 10_000
	// MaxArchive is how much of a chart's archive is read, in bytes, packed and unpacked.
	MaxArchive = 16 << 20
	// MaxChart is the largest Chart.yaml that is read, and how much of each other file of a chart, in
	// bytes.
	MaxChart = 64 << 10
	// MaxFiles is how many files of an artifact are listed.
	MaxFiles = 100
	// MaxText is the length of a text in a Content, in bytes; a longer one is cut.
	MaxText = 1 << 10

	maxDepth        = 100 // of JSON
	maxFields       = 40
	maxCertificates = 4
	maxNested       = 2 // documents in documents: an envelope, and the statement in it
)

// The kinds of content.
const (
	SBOM       = "SBOM"
	Provenance = "Provenance"
	Statement  = "Attestation"
	VEX        = "VEX"
	Signature  = "Signature"
	Chart      = "Helm chart"
	Wasm       = "WebAssembly"
)

// Window says which rows of a document are kept.
type Window struct {
	// Find is in a row, in any letter case. Empty: in all.
	Find string
	// From counts the rows that are passed over, of those with Find.
	From int
	// Rows bounds those that are kept.
	Rows int
}

// Content is what a file of an artifact says. Its texts are a stranger's, each of at most MaxText
// bytes of UTF-8.
type Content struct {
	// Kind is one of the kinds, or empty if the file says nothing that is known.
	Kind string
	// Format is that of the file, as "SPDX-2.3".
	Format string
	// About is what it says as a whole, at most maxFields.
	About []Field
	// Columns are the names of the columns of Rows, at most four.
	Columns []string
	Rows    [][]string
	// Matched counts the rows with Find, and Total all, at most MaxRows.
	Matched, Total int
	// Certificates are those of a signature, that of the signer first.
	Certificates []Certificate
	// Texts are files of a chart.
	Texts []Field
	// Cut says in a sentence why the file is not read to its end. Empty: it is.
	Cut string
}

// Field is a name and what it has as value.
type Field struct{ Name, Value string }

// Certificate is what a certificate says of its owner (RFC 5280). It is not verified.
type Certificate struct {
	Subject string
	// Names are the alternative names: addresses, URIs, hosts.
	Names []string
	// Issuer is who issued the certificate. Provider is who knows the owner, as Fulcio writes it
	// (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md).
	Issuer, Provider string
	From, Until      time.Time
}
