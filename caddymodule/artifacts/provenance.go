package artifacts

// materials are the columns of a provenance: what a build was made of.
var materials = []string{"Material", "Digest"}

// material reads one of SLSA's materials, or resolved dependencies.
func (d *document) material() error {
	var uri, name, sum string
	err := d.object(func(member string) (err error) {
		switch member {
		case "uri":
			uri, err = d.text()
		case "name":
			name, err = d.text()
		case "digest":
			sum, err = d.digest()
		default:
			err = d.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if uri == "" {
		uri = name
	}
	return d.row(uri, sum)
}

// definition reads how something was built (SLSA 1.0, buildDefinition).
func (d *document) definition(name string) error {
	switch name {
	case "buildType":
		return d.said("Kind of build")
	case "externalParameters":
		return d.parameters("")
	case "resolvedDependencies":
		return d.rows(Provenance, materials, d.material)
	}
	return d.skip()
}

// run reads by whom and when something was built (SLSA 1.0, runDetails).
func (d *document) run(name string) error {
	switch name {
	case "builder":
		return d.object(d.builder)
	case "metadata":
		return d.object(d.metadata)
	}
	return d.skip()
}

func (d *document) builder(name string) error {
	if name == "id" {
		return d.said("Builder")
	}
	return d.skip()
}

// invocation reads what a build was begun with (SLSA 0.2).
func (d *document) invocation(name string) error {
	if name == "configSource" || name == "parameters" {
		return d.parameters("")
	}
	return d.skip()
}

// parameters says what an object has, with the way to each value.
func (d *document) parameters(way string) error {
	return d.textOr(func(value string) { d.say(way, value) }, func(name string) error {
		if way != "" {
			name = way + "." + name
		}
		return d.parameters(clip(name))
	})
}
