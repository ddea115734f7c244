package registry

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/eblume/caddy-registry"

// golang runs the go command.
func golang(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// core serves, policies decides, caddymodule connects. What is below knows nothing of
// what is above it, and neither Caddy nor its logger, the OIDC client or OpenTelemetry.
func TestDirection(t *testing.T) {
	foreign := []string{"github.com/caddyserver/", "go.uber.org/zap", "github.com/coreos/go-oidc", "go.opentelemetry.io/"}
	for _, row := range []struct {
		below string
		above []string
		// besides are the packages, in a row, that may be used although above has them.
		besides string
	}{
		{"./core/...", []string{module + "/policies", module + "/caddymodule"}, ""},
		// Rules are about names, and globs knows nothing but names.
		{"./policies/...", []string{module + "/core/", module + "/caddymodule"}, module + "/core/globs"},
		{"./core/globs", []string{module + "/"}, ""},
		{"./core/memo", []string{module + "/"}, ""},
		{"./core/behind", []string{module + "/"}, ""},
		{"./core/nearby", []string{module + "/"}, ""},
		{"./core/rounds", []string{module + "/"}, ""},
		// A store is given its names by its opener, which may keep them elsewhere than in an index.
		{"./core/store", []string{module + "/core/"}, module + "/core/bucket " + module + "/core/graph"},
		// They know mirrors by their names alone.
		{"./core/evict",
			[]string{module + "/core/mirror", module + "/core/upstream", module + "/core/wire",
				module + "/core/namespace"}, ""},
		{"./core/mirror/download", []string{module + "/core/store", module + "/core/namespace", module + "/core/wire"},
			""},
		{"./core/usage", []string{module + "/"}, module + "/core/bucket " + module + "/core/behind"},
		// They record what they are told, and know nobody who tells them.
		{"./core/lasting", []string{module + "/"}, ""},
		{"./core/events", []string{module + "/"}, module + "/core " + module + "/core/lasting " + module + "/core/behind"},
		{"./core/hours", []string{module + "/"}, module + "/core " + module + "/core/lasting " + module + "/core/behind"},
		{"./caddymodule/record", []string{module + "/"}, ""},
		{"./caddymodule/doctor", []string{module + "/"}, ""},
		{"./caddymodule/instance", []string{module + "/"}, ""},
		// Administrators are determined from records of people, independent of the serving
		// code.
		{"./caddymodule/admins",
			[]string{module + "/caddymodule/web", module + "/caddymodule/session", module + "/caddymodule/oidclogin"},
			""},
		{"./core/transfer/...",
			[]string{module + "/core/mirror", module + "/core/upstream", module + "/core/wire",
				module + "/core/namespace"}, ""},
		{"./caddymodule/design", []string{module + "/"}, ""},
		// Pages about images look at a guarded Registry, and know no records of people.
		{"./caddymodule/pages",
			[]string{module + "/core/", module + "/caddymodule"},
			module + "/caddymodule/design " + module + "/caddymodule/artifacts " + module + "/caddymodule/deletion " +
				module + "/caddymodule/overview " +
				module + "/core/globs " + module + "/core/events " + module + "/core/hours " + module + "/core/lasting " + module + "/core/behind"},
		// It decides what callers see of what a Source knows, and knows no Source.
		{"./caddymodule/overview",
			[]string{module + "/caddymodule", module + "/core/store", module + "/core/mirror", module + "/core/upstream",
				module + "/core/bucket"}, ""},
		{"./caddymodule/artifacts", []string{module + "/"}, ""},
		{"./caddymodule/deletion", []string{module + "/core/", module + "/caddymodule", module + "/policies"}, ""},
		{"./caddymodule/census", []string{module + "/policies", module + "/caddymodule"}, ""},
		{"./caddymodule/health", []string{module + "/"}, ""},
		// It shows what a guarded registry shows, and asks nobody else.
		{"./caddymodule/api",
			[]string{module + "/caddymodule", module + "/core/store", module + "/core/mirror", module + "/core/upstream", module + "/core/index"},
			module + "/caddymodule/overview " + module + "/caddymodule/deletion"},
		{"./core", []string{module + "/"}, ""},
		// The packages that know what a disk holds, and sync it, know nothing of keys.
		{"./core/bucket/dir/ledger", []string{module + "/"}, ""},
		{"./core/bucket/dir/groupsync", []string{module + "/"}, ""},
		{"./core/bucket/dir/folders", []string{module + "/"}, ""},
		// It compares what a store holds, whoever put it there.
		{"./core/verify",
			[]string{module + "/core/mirror", module + "/core/upstream", module + "/core/wire",
				module + "/core/namespace"}, ""},
		// Every remover asks what a manifest names.
		{"./core/graph", []string{module + "/core/", module + "/policies", module + "/caddymodule"}, ""},
	} {
		t.Run(row.below, func(t *testing.T) {
			for dependency := range strings.Lines(golang(t, "list", "-deps", row.below)) {
				dependency = strings.TrimSpace(dependency)
				if slices.Contains(strings.Fields(row.besides), dependency) {
					continue
				}
				for _, forbidden := range append(foreign, row.above...) {
					if strings.HasPrefix(dependency, forbidden) &&
						dependency != module+strings.TrimPrefix(row.below, ".") {
						t.Errorf("%s depends on %s", row.below, dependency)
					}
				}
			}
		})
	}
}

// versions reads which module versions a go.mod requires.
func versions(t *testing.T, file string) map[string]string {
	t.Helper()
	var parsed struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal([]byte(golang(t, "mod", "edit", "-json", file)), &parsed); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, r := range parsed.Require {
		found[r.Path] = r.Version
	}
	return found
}

const caddy = "github.com/caddyserver/caddy/v2"

func TestTheBuildUsesTheCaddyThatIsTested(t *testing.T) {
	data, err := os.ReadFile("xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		CaddyVersion string `json:"caddy_version"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	if want := versions(t, "go.mod")[caddy]; document.CaddyVersion != want {
		t.Errorf("xcaddy.json says %s, go.mod %s", document.CaddyVersion, want)
	}
}

// Adding the registry to a Caddy must keep that Caddy's version and the libraries with
// which it was released.
func TestNoVersionOfCaddysIsRaised(t *testing.T) {
	theirs := versions(t, filepath.Join(golang(t, "list", "-m", "-f", "{{.Dir}}", caddy), "go.mod"))
	ours := versions(t, "go.mod")
	shared := 0
	for path, version := range ours {
		if want, ok := theirs[path]; ok {
			shared++
			if version != want {
				t.Errorf("%s: Caddy has %s, go.mod %s", path, want, version)
			}
		}
	}
	if shared == 0 {
		t.Error("go.mod shares no module with Caddy's: this test looks at the wrong file")
	}
}

// The reader of blocks of the Caddyfile knows Caddy, and nothing of the registry.
func TestTheOptionReaderStandsAlone(t *testing.T) {
	const option = module + "/caddymodule/option"
	for dependency := range strings.Lines(golang(t, "list", "-deps", option)) {
		if dependency = strings.TrimSpace(dependency); strings.HasPrefix(dependency, module+"/") &&
			dependency != option {
			t.Errorf("%s depends on %s", option, dependency)
		}
	}
}

// roomsOfCaddymodule are the packages that caddymodule consists of, each with those that it
// may know. A room that stands in no other's list is known to the root alone.
var roomsOfCaddymodule = map[string]string{
	"option":         "",
	"api":            "",
	"control":        "",
	"storage":        "option",
	"cache":          "option observe control",
	"observe":        "control",
	"authenticators": "option observe control",
	"running":        "api control observe storage option",
	"doctor/checks":  "control storage option",
	"config":         "api authenticators cache control observe option running storage",
	"command":        "api authenticators cache config control doctor/checks observe option running storage",
}

func TestTheRoomsOfCaddymoduleKnowOnlyWhatTheyMay(t *testing.T) {
	const prefix = module + "/caddymodule/"
	for room, may := range roomsOfCaddymodule {
		allowed := strings.Fields(may)
		for dependency := range strings.Lines(golang(t, "list", "-deps", "./caddymodule/"+room)) {
			dependency = strings.TrimSpace(dependency)
			other, ok := strings.CutPrefix(dependency, prefix)
			if _, isRoom := roomsOfCaddymodule[other]; ok && isRoom && other != room &&
				!slices.Contains(allowed, other) {
				t.Errorf("%s depends on %s", room, other)
			}
			if dependency == module+"/caddymodule" {
				t.Errorf("%s depends on caddymodule", room)
			}
		}
	}
}

// packagesForTests are imported by tests alone.
var packagesForTests = []string{
	"core/coretest", "core/upstream/upstreamtest",
	"caddymodule/caddytest", "caddymodule/oidclogin/oidctest", "caddymodule/registrytest",
}

func TestTheProductContainsNoPackageForTests(t *testing.T) {
	product := strings.Fields(golang(t, "list", "-deps", "."))
	for _, name := range packagesForTests {
		if slices.Contains(product, module+"/"+name) {
			t.Errorf("the product depends on %s", name)
		}
		if golang(t, "list", "./"+name) == "" {
			t.Errorf("there is no %s", name)
		}
	}
	if !slices.Contains(product, module+"/caddymodule") {
		t.Error("the product has no caddymodule: this test looks at the wrong package")
	}
}

// Tests inside of caddymodule can use registrytest as long as it does not import caddymodule.
func TestRegistrytestCanBeUsedInsideOfCaddymodule(t *testing.T) {
	if slices.Contains(strings.Fields(golang(t, "list", "-deps", "./caddymodule/registrytest")),
		module+"/caddymodule") {
		t.Error("registrytest depends on caddymodule")
	}
}

// Callers, tokens, sessions and pages can be understood and tested without Caddy.
func TestWhatIsKnownOfCallersDependsOnNoCaddy(t *testing.T) {
	for _, room := range []string{"identity", "session", "token", "jwks", "oidclogin", "workload", "design", "pages", "web", "api"} {
		for dependency := range strings.Lines(golang(t, "list", "-deps", "./caddymodule/"+room)) {
			if dependency = strings.TrimSpace(dependency); strings.HasPrefix(dependency, "github.com/caddyserver/") {
				t.Errorf("%s depends on %s", room, dependency)
			}
		}
	}
}
