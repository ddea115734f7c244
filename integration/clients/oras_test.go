package clients

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// Artifacts hang on an image by its digest: pushed by one client, they are found and
// read by two.
func TestArtifactsAreAttachedDiscoveredAndRead(t *testing.T) {
	r := start(t)
	h := newHome(t)
	subject := image(t, true)
	d := digestOf(t, subject)
	ref := r.ref("team/signed:v1")
	h.run(t, "oras", "cp", "--from-oci-layout", "--to-plain-http", writeLayout(t, subject)+":v1", ref)

	const kind, said = "application/vnd.example.sbom", `{"packages":[]}`
	if err := os.WriteFile(h.path("sbom.json"), []byte(said), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(t, "oras", "attach", "--plain-http", "--artifact-type", kind, "--annotation", "who=oras", ref, "sbom.json:application/json")

	var found struct {
		Referrers []struct {
			Digest       string            `json:"digest"`
			ArtifactType string            `json:"artifactType"`
			Annotations  map[string]string `json:"annotations"`
		} `json:"referrers"`
	}
	out := h.run(t, "oras", "discover", "--plain-http", "--format", "json", ref)
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("oras discover wrote %q: %v", out, err)
	}
	if len(found.Referrers) != 1 || found.Referrers[0].ArtifactType != kind || found.Referrers[0].Annotations["who"] != "oras" {
		t.Fatalf("oras discover found %+v, want one of type %s", found.Referrers, kind)
	}
	artifact := found.Referrers[0].Digest

	out = h.run(t, "regctl", "--host", "reg="+r.Host+",tls=disabled", "artifact", "list", "--filter-artifact-type", kind, "--format", "{{jsonPretty .}}", ref)
	if !strings.Contains(out, artifact) {
		t.Errorf("regctl artifact list does not name %s:\n%s", artifact, out)
	}

	h.run(t, "oras", "pull", "--plain-http", "--output", h.path("pulled"), r.ref("team/signed@"+artifact))
	got, err := os.ReadFile(h.path("pulled/sbom.json"))
	if err != nil || string(got) != said {
		t.Errorf("pulled artifact is %q, error %v; want %q", got, err, said)
	}

	// A recursive copy carries what hangs on the image.
	h.run(t, "oras", "cp", "--recursive", "--from-plain-http", "--to-plain-http", ref, r.ref("team/mirror:v1"))
	r.holds(t, "team/mirror", "v1", d)
	if out := h.run(t, "oras", "discover", "--plain-http", "--format", "json", r.ref("team/mirror:v1")); !strings.Contains(out, artifact) {
		t.Errorf("after a recursive copy oras discover does not name %s:\n%s", artifact, out)
	}

	h.run(t, "oras", "manifest", "delete", "--force", "--plain-http", r.ref("team/signed@"+artifact))
	if out := h.run(t, "oras", "discover", "--plain-http", "--format", "json", ref); strings.Contains(out, artifact) {
		t.Errorf("deleted referrer is still discovered:\n%s", out)
	}
}

// Lists are in byte order, where capitals come first.
func TestListsAsClientsSeeThem(t *testing.T) {
	r := start(t)
	h := newHome(t)
	dir := writeLayout(t, image(t, true))
	for _, name := range []string{"team/b:v2", "team/b:v1", "team/b:V1", "a:latest"} {
		h.run(t, "crane", "push", dir, r.ref(name))
	}
	for _, list := range []struct {
		name string
		args []string
		want string
	}{
		{"crane's tags", []string{"crane", "ls", r.ref("team/b")}, "V1 v1 v2"},
		{"crane's catalog", []string{"crane", "catalog", r.Host}, "a team/b"},
		{"oras' tags", []string{"oras", "repo", "tags", "--plain-http", r.ref("team/b")}, "V1 v1 v2"},
		{"oras' catalog", []string{"oras", "repo", "ls", "--plain-http", r.Host}, "a team/b"},
		{"regctl's tags", []string{"regctl", "--host", "reg=" + r.Host + ",tls=disabled", "tag", "ls", r.ref("team/b")}, "V1 v1 v2"},
		{"regctl's catalog", []string{"regctl", "--host", "reg=" + r.Host + ",tls=disabled", "repo", "ls", r.Host}, "a team/b"},
	} {
		t.Run(list.name, func(t *testing.T) {
			got := strings.Join(strings.Fields(h.run(t, list.args[0], list.args[1:]...)), " ")
			if got != list.want {
				t.Errorf("got %q, want %q", got, list.want)
			}
		})
	}
}
