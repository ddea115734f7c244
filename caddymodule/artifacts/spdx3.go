package artifacts

import (
	"hash/maphash"
	"strings"
)

// spdx3 reads the graph of an SPDX document of version 3 (https://spdx.github.io/spdx-spec/v3.0.1/):
// elements in any order, of which packages are rows. The licence of a package is in another element,
// and a third one connects them, so the licences of at most MaxRows packages are remembered until the
// end of the graph. They are not searched.
type spdx3 struct {
	*document
	seed maphash.Seed
	// kept are the packages of the rows that are kept, by their place in Rows.
	kept map[uint64]int
	// concluded and declared are the licences of packages, by the IDs of both, and names those of
	// licences.
	concluded, declared map[uint64]uint64
	names               map[uint64]string
}

// element is what an element may have of which a row is made.
type element struct {
	kind, id, name, version, purl string
	expression, created           string
	relation, from, to            string
}

const spdxContext = "https://spdx.org/rdf/"

// context reads which version of SPDX a document has that is JSON-LD.
func (d *document) context() error {
	return d.textOr(func(address string) {
		if rest, ok := strings.CutPrefix(address, spdxContext); ok {
			version, _, _ := strings.Cut(rest, "/")
			d.isKind(SBOM)
			d.Format = "SPDX-" + version
		}
	}, func(string) error { return d.skip() })
}

// graph reads the elements of JSON-LD.
func (d *document) graph() error {
	if d.Columns != nil {
		return d.skip()
	}
	s := &spdx3{
		document: d, seed: maphash.MakeSeed(), kept: map[uint64]int{}, names: map[uint64]string{},
		concluded: map[uint64]uint64{}, declared: map[uint64]uint64{},
	}
	defer s.license()
	return d.array(s.element)
}

func (s *spdx3) hash(id string) uint64 { return maphash.String(s.seed, id) }

// element reads one element, and remembers what it says of licences.
func (s *spdx3) element() error {
	var e element
	if err := s.object(func(member string) (err error) { return s.member(&e, member) }); err != nil {
		return err
	}
	switch e.kind {
	case "software_Package":
		s.isKind(SBOM)
		s.Columns = packages
		before := len(s.Rows)
		if err := s.row(e.name, e.version, "", e.purl); err != nil {
			return err
		}
		if len(s.Rows) > before && e.id != "" {
			s.kept[s.hash(e.id)] = before
		}
	case "Relationship", "LifecycleScopedRelationship":
		switch e.relation {
		case "hasConcludedLicense":
			s.remember(s.concluded, e.from, e.to)
		case "hasDeclaredLicense":
			s.remember(s.declared, e.from, e.to)
		}
	case "CreationInfo":
		s.say("Made", e.created)
	case "SpdxDocument":
		s.say("Of", e.name)
	case "simplelicensing_LicenseExpression":
		s.name(e.id, e.expression)
	case "expandedlicensing_CustomLicense":
		s.name(e.id, e.name)
	}
	return nil
}

// name notes the name of a licence.
func (s *spdx3) name(licence, name string) {
	if len(s.names) < MaxRows {
		s.names[s.hash(licence)] = name
	}
}

// remember notes the licence of a package. One of SPDX's list has its name in its ID.
func (s *spdx3) remember(licences map[uint64]uint64, of, licence string) {
	if len(licences) >= MaxRows {
		return
	}
	licences[s.hash(of)] = s.hash(licence)
	if _, name, listed := strings.Cut(licence, "://spdx.org/licenses/"); listed {
		s.name(licence, name)
	}
}

// license gives the rows their licences.
func (s *spdx3) license() {
	for id, at := range s.kept {
		for _, licences := range []map[uint64]uint64{s.concluded, s.declared} {
			licence, ok := licences[id]
			if name := s.names[licence]; ok && !unknown(name) {
				s.Rows[at][2] = name
				break
			}
		}
	}
}

// member reads a member of an element.
func (s *spdx3) member(e *element, name string) (err error) {
	switch name {
	case "type", "@type":
		e.kind, err = s.text()
	case "spdxId", "@id":
		e.id, err = s.text()
	case "name":
		e.name, err = s.text()
	case "software_packageVersion":
		e.version, err = s.text()
	case "software_packageUrl":
		e.purl, err = s.text()
	case "externalIdentifier":
		err = s.array(func() error { return s.identifier(e) })
	case "simplelicensing_licenseExpression":
		e.expression, err = s.text()
	case "created":
		e.created, err = s.text()
	case "relationshipType":
		e.relation, err = s.text()
	case "from":
		e.from, err = s.text()
	case "to":
		e.to, err = s.first()
	default:
		err = s.skip()
	}
	return err
}

// identifier reads an identifier of a package, and keeps a package URL.
func (s *spdx3) identifier(e *element) error {
	kind, value := "", ""
	err := s.object(func(member string) (err error) {
		switch member {
		case "externalIdentifierType":
			kind, err = s.text()
		case "identifier":
			value, err = s.text()
		default:
			err = s.skip()
		}
		return err
	})
	if kind == "packageUrl" && e.purl == "" {
		e.purl = value
	}
	return err
}
