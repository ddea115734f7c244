package signin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/eblume/caddy-registry/integration/server"
)

// providerSecret is the client's secret, as provider.mjs has it.
const providerSecret = "a secret of the tests"

// person is a user of the provider.
type person struct {
	Groups   []string `json:"groups"`
	Disabled bool     `json:"disabled"`
}

// provider is panva's oidc-provider in a separate process.
type provider struct {
	*testing.T
	root   string // of its host
	issuer string // below it, with a path as Authentik has it
	port   int
	node   string
	cmd    *exec.Cmd
	log    bytes.Buffer
}

// newProvider prepares one and does not start it.
func newProvider(t *testing.T) *provider {
	t.Helper()
	node := filepath.Join(server.Root(t), "integration", "signin", "provider", "node_modules", ".bin", "node")
	if _, err := os.Stat(node); errors.Is(err, fs.ErrNotExist) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: run `go run ./tools` in integration", err)
		}
		t.Skipf("%v: run `go run ./tools` in integration", err)
	}
	port := server.FreePort(t)
	root := fmt.Sprintf("http://localhost:%d", port)
	return &provider{T: t, root: root, issuer: root + "/application/o/registry/", port: port, node: node}
}

// start runs it, for a registry whose certificate authority is in a file, and returns
// when it answers. It can be started again after a stop.
func (p *provider) start(registry, authority string, people map[string]person) {
	p.Helper()
	config, err := json.Marshal(map[string]any{
		"issuer": p.issuer, "port": p.port,
		"callback": registry + callback, "backChannel": registry + "/oidc/backchannel-logout",
	})
	if err != nil {
		p.Fatal(err)
	}
	p.cmd = exec.Command(p.node, "provider.mjs")
	p.cmd.Dir = filepath.Join(server.Root(p), "integration", "signin", "provider")
	p.cmd.Env = append(os.Environ(), "SIGNIN_PROVIDER="+string(config), "NODE_EXTRA_CA_CERTS="+authority)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		p.stop()
		if p.Failed() {
			p.Logf("log of the provider:\n%s", p.log.String())
		}
	})
	if err := server.Eventually(patience, func() (bool, error) { return p.tell(people) == nil, nil }); err != nil {
		p.Fatalf("the provider did not start: %v", err)
	}
}

// stop ends it. Its state is lost.
func (p *provider) stop() {
	p.cmd.Process.Kill() // an error means that it is gone already
	p.cmd.Wait()
}

// know sets the users of the provider from now on.
func (p *provider) know(people map[string]person) {
	p.Helper()
	if err := p.tell(people); err != nil {
		p.Fatal(err)
	}
}

func (p *provider) tell(people map[string]person) error {
	data, err := json.Marshal(people)
	if err != nil {
		return err
	}
	return p.post("/people", data)
}

// rotate gives it other signing keys, and takes back those that it had.
func (p *provider) rotate() {
	p.Helper()
	if err := p.post("/rotate", nil); err != nil {
		p.Fatal(err)
	}
}

// impersonate lets a signed-in user act as another one at the provider.
func (p *provider) impersonate(from, to string) {
	p.Helper()
	data, err := json.Marshal(map[string]string{"from": from, "to": to})
	if err != nil {
		p.Fatal(err)
	}
	if err := p.post("/impersonate", data); err != nil {
		p.Fatal(err)
	}
}

func (p *provider) post(path string, data []byte) error {
	client := http.Client{Timeout: patience}
	response, err := client.Post(p.root+path, "application/json", bytes.NewReader(data))
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return nil
}
