package artifacts

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

var dependencies = []string{"Dependency", "Version", "Repository", "Condition"}

// errAlias: an alias stands for another part of a YAML document, so that a few lines can mean
// gigabytes.
var errAlias = errors.New("aliases")

// readChart reads the archive of a chart: Chart.yaml, README.md and values.yaml. An error is one of
// r's.
func readChart(c *Content, r io.Reader, w Window) error {
	c.Kind = Chart
	packed := &source{r: r, left: MaxArchive}
	unpacked := &source{left: MaxArchive}
	texts, err := unpack(packed, unpacked)
	if packed.failed != nil {
		return packed.failed
	}
	d := &document{Content: c, window: w}
	if text, found := texts["Chart.yaml"]; found {
		d.chart(text)
	}
	for _, name := range []string{"README.md", "values.yaml"} {
		if text := texts[name]; text != "" {
			c.Texts = append(c.Texts, Field{name, strings.ToValidUTF8(text, "")})
		}
	}
	switch {
	case packed.left < 0 || unpacked.left < 0:
		c.Cut = "Its archive is larger than 16 MiB, of which the first are read."
	case err != nil:
		c.Cut = "Its archive is not a tar with gzip."
	case c.Cut == "" && texts["Chart.yaml"] == "":
		c.Cut = "Its archive has no Chart.yaml."
	}
	return nil
}

// unpack returns the files that are shown, each of at most MaxChart and one byte more, until it has
// them.
func unpack(packed, unpacked *source) (map[string]string, error) {
	texts := map[string]string{}
	zipped, err := gzip.NewReader(packed)
	if err != nil {
		return texts, err
	}
	unpacked.r = zipped
	archive := tar.NewReader(unpacked)
	for len(texts) < 3 {
		header, err := archive.Next()
		if err == io.EOF {
			return texts, nil
		}
		if err != nil {
			return texts, err
		}
		// A file of the chart itself is <name>/<file>; those of its dependencies lie deeper.
		dir, name := path.Split(path.Clean(header.Name))
		wanted := name == "Chart.yaml" || name == "README.md" || name == "values.yaml"
		if _, twice := texts[name]; !wanted || twice || header.Typeflag != tar.TypeReg || strings.Count(dir, "/") != 1 {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(archive, MaxChart+1))
		if err != nil {
			return texts, err
		}
		texts[name] = string(text)
	}
	return texts, nil
}

// chart reads a Chart.yaml (https://helm.sh/docs/topics/charts/).
func (d *document) chart(text string) {
	if len(text) > MaxChart {
		d.Cut = "Its Chart.yaml is larger than 64 KiB, and is not read."
		return
	}
	var root yaml.Node
	err := yaml.Unmarshal([]byte(text), &root)
	if err == nil {
		err = plain(&root, 0)
	}
	switch {
	case errors.Is(err, errAlias):
		d.Cut = "Its Chart.yaml has aliases, and is not read."
		return
	case errors.Is(err, errDeep):
		d.Cut = fmt.Sprintf("Its Chart.yaml is nested more than %d levels deep, and is not read.", maxDepth)
		return
	case err != nil || len(root.Content) == 0:
		d.Cut = "Its Chart.yaml is not YAML."
		return
	}
	d.Format = strings.TrimSpace("Helm " + valueOf(root.Content[0], "apiVersion"))
	for _, field := range []Field{
		{"Chart", "name"}, {"Version", "version"}, {"Version of the application", "appVersion"},
		{"Description", "description"}, {"Type", "type"}, {"Kubernetes", "kubeVersion"}, {"Home", "home"},
		{"Deprecated", "deprecated"},
	} {
		d.say(field.Name, valueOf(root.Content[0], field.Value))
	}
	for _, source := range listOf(root.Content[0], "sources") {
		d.say("Source", clip(source.Value))
	}
	for _, one := range listOf(root.Content[0], "maintainers") {
		d.say("Maintainer", strings.TrimSpace(valueOf(one, "name")+" "+valueOf(one, "email")))
	}
	if list := listOf(root.Content[0], "dependencies"); len(list) > 0 {
		d.Columns = dependencies
		for _, one := range list {
			err := d.row(valueOf(one, "name"), valueOf(one, "version"), valueOf(one, "repository"), valueOf(one, "condition"))
			if err != nil {
				break // of 64 KiB, ten thousand have no room
			}
		}
	}
}

// plain returns an error if a document has aliases, or is nested too deeply.
func plain(node *yaml.Node, depth int) error {
	if node.Kind == yaml.AliasNode {
		return errAlias
	}
	if depth > maxDepth {
		return errDeep
	}
	for _, inner := range node.Content {
		if err := plain(inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// memberOf returns the value of a member of a mapping, or nil.
func memberOf(node *yaml.Node, name string) *yaml.Node {
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == name {
				return node.Content[i+1]
			}
		}
	}
	return nil
}

func valueOf(node *yaml.Node, name string) string {
	if value := memberOf(node, name); value != nil && value.Kind == yaml.ScalarNode {
		return clip(value.Value)
	}
	return ""
}

func listOf(node *yaml.Node, name string) []*yaml.Node {
	if value := memberOf(node, name); value != nil && value.Kind == yaml.SequenceNode {
		return value.Content
	}
	return nil
}
