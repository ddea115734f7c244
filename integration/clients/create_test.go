package clients

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// A tag is created once: when processes push different manifests to one new tag, each with a
// key that may only create, exactly one gets 201.
func TestOneCreatorWins(t *testing.T) {
	const rounds, racers = 40, 6
	r, h := guarded(t)
	program := server.Tool(t, "curl")
	secret, _ := r.Key(t, "zot-ci", "artifact-workloads")
	c := client.New(r.URL).Login("zot-ci", secret)
	defer c.Close()
	config, err := c.PushBlob(t.Context(), "team/race", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		tag := fmt.Sprintf("r%d", round)
		processes, digests := make([]*exec.Cmd, racers), make([]digest.Digest, racers)
		said := make([]strings.Builder, racers)
		for i := range processes {
			raw, err := json.Marshal(ocispec.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
				Config:      ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: config, Size: 2},
				Layers:      []ocispec.Descriptor{},
				Annotations: map[string]string{"racer": fmt.Sprint(round, i)},
			})
			if err != nil {
				t.Fatal(err)
			}
			digests[i] = digest.FromBytes(raw)
			file := h.path(fmt.Sprintf("%d.json", i))
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			processes[i] = exec.CommandContext(t.Context(), program, "--silent", "--show-error", "--cacert", r.Authority(),
				"--header", "Authorization: Bearer "+secret, "--header", "Content-Type: "+ocispec.MediaTypeImageManifest,
				"--output", os.DevNull, "--write-out", "%{http_code}", "--request", "PUT", "--data-binary", "@"+file,
				r.URL+"/v2/team/race/manifests/"+tag)
			processes[i].Stdout, processes[i].Stderr = &said[i], &said[i]
		}
		for _, process := range processes {
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
		}
		var winners []digest.Digest
		for i, process := range processes {
			if err := process.Wait(); err != nil {
				t.Fatalf("%v: %s", err, said[i].String())
			}
			switch said[i].String() {
			case "201":
				winners = append(winners, digests[i])
			case "403":
			default:
				t.Errorf("round %d: racer %d got %s, want 201 or 403", round, i, said[i].String())
			}
		}
		if len(winners) != 1 {
			t.Fatalf("round %d: %d processes got 201 for the tag, want one", round, len(winners))
		}
		r.holds(t, "team/race", tag, winners[0])
	}
}
