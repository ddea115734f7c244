package pages

import (
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// config is what the config of an image says (image-spec, config.md; Docker adds the healthcheck).
// Members of another type are left out.
type config struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Created      time.Time `json:"created"`
	Author       string    `json:"author"`
	Config       struct {
		User         string
		ExposedPorts map[string]struct{}
		Env          []string
		Entrypoint   []string
		Cmd          []string
		Volumes      map[string]struct{}
		WorkingDir   string
		Labels       map[string]string
		StopSignal   string
		Healthcheck  struct {
			Test     []string
			Interval time.Duration
		}
	} `json:"config"`
	History []step `json:"history"`
}

// step is an entry of an image's history.
type step struct {
	CreatedBy string `json:"created_by"`
	Comment   string `json:"comment"`
	Empty     bool   `json:"empty_layer"`
}

// parseConfig reads a config as far as it can be read.
func parseConfig(data []byte) config {
	var c config
	_ = json.Unmarshal(data, &c) // decodes what it can beside a member of another type
	return c
}

// about are the rows of the table of the config.
func (c config) about(k *ink) []pair {
	var rows []pair
	add := func(name template.HTML, value string) {
		if value != "" {
			rows = append(rows, pair{name, k.text(value, true)})
		}
	}
	add("User", c.Config.User)
	add("Working directory", c.Config.WorkingDir)
	add("Entrypoint", words(c.Config.Entrypoint))
	add("Command", words(c.Config.Cmd))
	add("Ports", strings.Join(first(slices.Sorted(maps.Keys(c.Config.ExposedPorts))), ", "))
	add("Volumes", strings.Join(first(slices.Sorted(maps.Keys(c.Config.Volumes))), ", "))
	add("Stop signal", c.Config.StopSignal)
	if test := c.Config.Healthcheck.Test; len(test) > 0 {
		text := words(test)
		if every := c.Config.Healthcheck.Interval; every > 0 {
			text += " every " + every.String()
		}
		add("Health check", text)
	}
	add("Author", c.Author)
	return rows
}

// first are at most maxRows of some texts.
func first(all []string) []string { return all[:min(len(all), maxRows)] }

// words is a command as JSON, as a Dockerfile has it.
func words(command []string) string {
	if len(command) == 0 {
		return ""
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(first(command)); err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), `","`, `", "`)
}

// The ways in which builders write a line of a Dockerfile into the history.
var (
	instruction = regexp.MustCompile(`^(ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER|VOLUME|WORKDIR)(\s+|$)`)
	noop        = regexp.MustCompile(`^/bin/sh -c #\(nop\)\s*`)
	shell       = regexp.MustCompile(`^(RUN\s+)?(\|\d+\s.*?)?(/bin/(?:ba)?sh(?:\s+-[a-z]+)*\s+-[a-z]*c|cmd /S /C)\s+`)
	ports       = regexp.MustCompile(`map\[([^\]]*)\]`)
)

// dockerfile returns an entry of a history as the line of a Dockerfile that has made it, as far as
// builders tell. keyword is empty where it is none.
func dockerfile(s step) (keyword, rest string) {
	text := strings.TrimSpace(s.CreatedBy)
	if len(text) > maxText {
		text = text[:maxText]
	}
	text = strings.TrimSpace(strings.TrimSuffix(text, "# buildkit"))
	switch {
	case text == "":
		return "", s.Comment
	case noop.MatchString(text):
		text = noop.ReplaceAllString(text, "")
	case shell.MatchString(text):
		return "RUN", shell.ReplaceAllString(text, "")
	}
	keyword = strings.TrimSpace(instruction.FindString(text))
	rest = strings.TrimSpace(text[len(keyword):])
	if keyword == "EXPOSE" {
		rest = ports.ReplaceAllStringFunc(rest, func(written string) string {
			return strings.ReplaceAll(ports.FindStringSubmatch(written)[1], ":{}", "")
		})
	}
	return keyword, rest
}

// historyRow is a line of an image's history, or a layer of which it says nothing.
type historyRow struct {
	Keyword string
	Text    template.HTML
	Size    string // of its layer; "–" without one
	Color   int    // of its layer in the bar; 0: none
	Shared  bool   // other images of the repository have the layer
}

// layer is a layer of an image as its manifest names it.
type layer struct {
	Size      int64
	Digest    string
	MediaType string
	Shared    bool
}

// history are the lines of an image with its layers, and how many more there are. If the history
// has another number of layers than the manifest, the layers come first, without lines.
func history(k *ink, steps []step, layers []layer, colors []int) (rows []historyRow, more int) {
	filled := 0
	for _, s := range steps {
		if !s.Empty {
			filled++
		}
	}
	total, next := len(steps), 0
	apart := filled != len(layers)
	if apart {
		total += len(layers)
	}
	for i := range total {
		if len(rows) == maxRows || k.dry() {
			return rows, total - i
		}
		row := historyRow{Size: "–"}
		step, isLayer := step{}, apart && i < len(layers)
		if !isLayer {
			j := i
			if apart {
				j -= len(layers)
			}
			step = steps[j]
			row.Keyword, row.Text = dockerfileLine(k, step)
			isLayer = !apart && !step.Empty
		} else {
			row.Text = k.text(fmt.Sprintf("%s %s", layers[i].Digest, layers[i].MediaType), false)
		}
		if isLayer {
			l := layers[next]
			row.Size, row.Shared, row.Color = size(l.Size), l.Shared, colors[next]
			next++
		}
		rows = append(rows, row)
	}
	return rows, 0
}

func dockerfileLine(k *ink, s step) (string, template.HTML) {
	keyword, rest := dockerfile(s)
	return keyword, k.text(rest, true)
}
