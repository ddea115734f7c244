package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	query "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"go.yaml.in/yaml/v3"

	"github.com/eblume/caddy-registry/integration/server"
)

// example returns a file of examples/monitoring.
func example(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(server.Root(t), "examples", "monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// strictly decodes a dashboard with Grafana's own types, and returns unknown and missing
// fields.
func strictly(text []byte) error {
	all := cog.NewRuntime()
	all.RegisterPanelcfgVariant(bargauge.VariantConfig())
	all.RegisterPanelcfgVariant(stat.VariantConfig())
	all.RegisterPanelcfgVariant(timeseries.VariantConfig())
	all.RegisterDataqueryVariant(query.VariantConfig())
	//lint:ignore SA1019 every Grafana reads this form, and only the newest read its successor
	var decoded dashboard.Dashboard
	err := decoded.UnmarshalJSONStrict(text)
	if all, ok := errors.AsType[cog.BuildErrors](err); ok && len(all) == 0 {
		return nil // the generated code also returns an empty list
	}
	return err
}

// panel has the fields of a panel that the test needs.
type panel struct {
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct{ Expr string }
}

// panels decodes a dashboard strictly.
func panels(t *testing.T, text []byte) []panel {
	t.Helper()
	if err := strictly(text); err != nil {
		t.Fatalf("the dashboard: %v", err)
	}
	var decoded struct{ Panels []panel }
	if err := json.Unmarshal(text, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded.Panels
}

func TestADashboardWithAMistakeIsFound(t *testing.T) {
	text := string(example(t, "grafana-dashboard.json"))
	for right, wrong := range map[string]string{
		`"colorMode"`: `"colourMode"`, `"legendFormat"`: `"legend"`, `"templating"`: `"templates"`, `"multi": false`: `"multi": "no"`,
	} {
		if err := strictly([]byte(strings.Replace(text, right, wrong, 1))); err == nil {
			t.Errorf("%s in place of %s is not found", wrong, right)
		}
	}
}

func TestThePanelsOfTheDashboardDoNotOverlap(t *testing.T) {
	taken := map[[2]int]string{}
	for _, p := range panels(t, example(t, "grafana-dashboard.json")) {
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is wider than the page", p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, ok := taken[at]; ok {
					t.Fatalf("%s overlaps %s", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
}

// inGrafana are the variables of the dashboard's queries, and values of them.
var inGrafana = strings.NewReplacer("$instance", ".*", "$__rate_interval", "1m", "$__range", "1h")

// everyPanel runs each query of the dashboard in Prometheus, and each that docs/do/monitor.md
// recommends.
func everyPanel(t *testing.T, at string) {
	t.Helper()
	asked := 0
	ask := func(where, query string) {
		t.Helper()
		asked++
		if err := server.Eventually(patience, func() (bool, error) { return answers(t, at, query), nil }); err != nil {
			t.Errorf("%s: Prometheus has no answer to %s: %v", where, query, err)
		}
	}
	for _, p := range panels(t, example(t, "grafana-dashboard.json")) {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %s has no query", p.Title)
		}
		for _, target := range p.Targets {
			ask(p.Title, inGrafana.Replace(target.Expr))
		}
	}
	page, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "monitor.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile("(?m)^ +query: (.+)$|^\\| `zot_.*\\| `(.+)` \\|$").FindAllStringSubmatch(string(page), -1) {
		ask("docs/do/monitor.md", strings.ReplaceAll(found[1]+found[2], "\\|", "|"))
	}
	if asked < 60 {
		t.Errorf("%d queries were found", asked)
	}
}

// run runs a checker over the examples.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), server.Tool(t, name), args...)
	cmd.Dir = filepath.Join(server.Root(t), "examples", "monitoring")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
}

// Each alert begins and ends as alerts_test.yml says, and the page explains what to do about
// it.
func TestEveryAlertBeginsAndEnds(t *testing.T) {
	run(t, "promtool", "check", "rules", "alerts.yml")
	run(t, "promtool", "test", "rules", "alerts_test.yml")
	run(t, "amtool", "check-config", "alertmanager.yml")

	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	var cases struct {
		Tests []struct {
			Cases []struct {
				Alert    string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	for name, into := range map[string]any{"alerts.yml": &rules, "alerts_test.yml": &cases} {
		if err := yaml.Unmarshal(example(t, name), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	shown := map[string][2]bool{} // by alert: it fires, and it does not
	for _, test := range cases.Tests {
		for _, c := range test.Cases {
			now := shown[c.Alert]
			now[0] = now[0] || len(c.Expected) > 0
			now[1] = now[1] || len(c.Expected) == 0
			shown[c.Alert] = now
		}
	}
	page, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "monitor.md"))
	if err != nil {
		t.Fatal(err)
	}
	known, named := documentation(t), regexp.MustCompile(`registry_[a-z_]+`)
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if shown[rule.Alert] != [2]bool{true, true} {
				t.Errorf("alerts_test.yml does not show when %s begins and ends", rule.Alert)
			}
			if !strings.Contains(string(page), fmt.Sprintf("| `%s` |", rule.Alert)) {
				t.Errorf("docs/do/monitor.md does not say what to do about %s", rule.Alert)
			}
			for _, name := range named.FindAllString(rule.Expr, -1) {
				if _, ok := known[strings.TrimSuffix(name, "_bucket")]; !ok {
					t.Errorf("%s queries %s, which docs/look-up/metrics.md does not name", rule.Alert, name)
				}
			}
		}
	}
	if len(rules.Groups) == 0 || !slices.ContainsFunc(rules.Groups[0].Rules, func(r struct{ Alert, Expr string }) bool { return r.Alert == "RegistryDown" }) {
		t.Error("alerts.yml was not read")
	}
}
