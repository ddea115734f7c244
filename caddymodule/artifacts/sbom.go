package artifacts

import "strings"

// packages are the columns of an SBOM.
var packages = []string{"Package", "Version", "Licence", "Package URL"}

// unknown reports whether SPDX says that something is not known.
func unknown(s string) bool { return s == "" || s == "NOASSERTION" || s == "NONE" }

// spdx reads a package (SPDX 2.3, clause 7).
func (d *document) spdx() error {
	var name, version, concluded, declared, purl string
	err := d.object(func(member string) (err error) {
		switch member {
		case "name":
			name, err = d.text()
		case "versionInfo":
			version, err = d.text()
		case "licenseConcluded":
			concluded, err = d.text()
		case "licenseDeclared":
			declared, err = d.text()
		case "externalRefs":
			err = d.array(func() error {
				kind, at := "", ""
				err := d.object(func(member string) (err error) {
					switch member {
					case "referenceType":
						kind, err = d.text()
					case "referenceLocator":
						at, err = d.text()
					default:
						err = d.skip()
					}
					return err
				})
				if kind == "purl" {
					purl = at
				}
				return err
			})
		default:
			err = d.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if unknown(concluded) {
		concluded = declared
	}
	if unknown(concluded) {
		concluded = ""
	}
	return d.row(name, version, concluded, purl)
}

// component reads a component (CycloneDX 1.6). Components may have components.
func (d *document) component() error {
	var group, name, version, purl string
	var licences []string
	err := d.object(func(member string) (err error) {
		switch member {
		case "group":
			group, err = d.text()
		case "name":
			name, err = d.text()
		case "version":
			version, err = d.text()
		case "purl":
			purl, err = d.text()
		case "licenses":
			licences, err = d.licences()
		case "components":
			err = d.array(d.component)
		default:
			err = d.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if group != "" {
		name = clip(group + "/" + name)
	}
	return d.row(name, version, clip(strings.Join(licences, ", ")), purl)
}

// maxLicences bounds the licences of one package.
const maxLicences = 10

// licences reads [{"license": {"id": "MIT"}}, {"expression": "…"}], and the forms of Syft, "MIT" and
// {"value": "MIT"}.
func (d *document) licences() (all []string, err error) {
	add := func(name string) {
		if name != "" && len(all) < maxLicences {
			all = append(all, name)
		}
	}
	var member func(name string) error
	member = func(name string) error {
		switch name {
		case "license":
			return d.object(member)
		case "id", "name", "expression", "value":
			value, err := d.text()
			add(value)
			return err
		}
		return d.skip()
	}
	err = d.array(func() error { return d.textOr(add, member) })
	return all, err
}

// syft reads an artifact of Syft's own format, whose members are among those of a component.
func (d *document) syft() error {
	if d.Format == "" {
		d.Format = "Syft"
	}
	return d.component()
}

// creation reads who made an SPDX document, and when.
func (d *document) creation(name string) error {
	switch name {
	case "created":
		return d.said("Made")
	case "creators":
		return d.array(func() error { return d.said("Made by") })
	}
	return d.skip()
}

// metadata reads what CycloneDX and the first provenance of SLSA have under this name.
func (d *document) metadata(name string) error {
	switch name {
	case "timestamp":
		return d.said("Made")
	case "component":
		return d.object(func(member string) error {
			switch member {
			case "name":
				return d.said("Of")
			case "version":
				return d.said("Version")
			}
			return d.skip()
		})
	case "buildStartedOn", "startedOn":
		return d.said("Build started")
	case "buildFinishedOn", "finishedOn":
		return d.said("Build ended")
	case "buildInvocationID", "buildInvocationId", "invocationId":
		return d.said("Build")
	case "https://mobyproject.org/buildkit@v1#metadata", "buildkit_metadata":
		return d.object(func(member string) error {
			if member != "vcs" {
				return d.skip()
			}
			return d.object(func(member string) error {
				switch member {
				case "source":
					return d.said("Source")
				case "revision":
					return d.said("Revision")
				}
				return d.skip()
			})
		})
	}
	return d.skip()
}

// vex reads a statement of OpenVEX.
func (d *document) vex() error {
	var vulnerability, product, status, why string
	first := func(to *string) (func(string), func(string) error) {
		set := func(value string) {
			if *to == "" {
				*to = value
			}
		}
		return set, func(member string) error {
			if member != "@id" && member != "name" {
				return d.skip()
			}
			value, err := d.text()
			if member == "name" { // people know it by its name
				*to = ""
			}
			set(value)
			return err
		}
	}
	err := d.object(func(member string) (err error) {
		switch member {
		case "vulnerability":
			err = d.textOr(first(&vulnerability))
		case "products":
			err = d.array(func() error { return d.textOr(first(&product)) })
		case "status":
			status, err = d.text()
		case "justification":
			why, err = d.text()
		default:
			err = d.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	return d.row(vulnerability, product, status, why)
}
