package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/caddytest"
	"github.com/eblume/caddy-registry/caddymodule/running"
)

// asCommand makes the test binary behave as the product's: what needs a process of
// its own, signals and exit codes, is tested so.
const asCommand = "CADDYMODULE_TEST_AS_COMMAND"

// The exit status of a command.
const (
	statusDone   = 0
	statusFailed = 1
	statusMisuse = 2
)

// patience bounds every wait. It is long because the machine may be busy.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// adapt makes JSON of a Caddyfile.
func adapt(t testing.TB, text string) []byte {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// load runs a Caddyfile in this process, instead of what ran before.
func load(t testing.TB, text string) {
	t.Helper()
	loadJSON(t, adapt(t, text))
}

// loadJSON runs a configuration in this process, instead of what ran before.
func loadJSON(t testing.TB, config []byte) {
	t.Helper()
	if err := loadError(t, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		released(t)
	})
}

// loadError loads a configuration that may be refused: what ran before runs on then.
// Whichever it is, requests may follow at once.
func loadError(t testing.TB, config []byte) error {
	t.Helper()
	err := caddy.Load(config, true)
	listensAlone(t, config)
	return err
}

// listensAlone waits until one server listens where a configuration does. Each has a
// socket of its own (SO_REUSEPORT), Caddy closes the one of the server that ends behind
// the reload, and the kernel then resets the connections that wait on it.
func listensAlone(t testing.TB, config []byte) {
	t.Helper()
	var c struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct{ Listen []string }
			}
		}
	}
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	for _, server := range c.Apps.HTTP.Servers {
		for _, text := range server.Listen {
			address, err := caddy.ParseNetworkAddress(text)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "one server listens on "+text, func() bool {
				// Caddy counts a socket no more right before it closes it.
				twice, err := caddytest.ListenedTwice(int(address.StartPort))
				if err != nil {
					t.Fatal(err)
				}
				return caddy.ListenerUsage(address.Network, address.JoinHostPort(0)) <= 1 && !twice
			})
		}
	}
}

// released waits until no request holds a storage open any more: Caddy does not wait
// for the last one, whose client has its answer already, and the directory is removed.
func released(t testing.TB) {
	t.Helper()
	eventually(t, "every storage is closed", func() bool { return len(running.Storages()) == 0 })
}

// freePort is a port of the loopback interface that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
	t.Fatal("the kernel offers only ports that other tests were given")
	return 0
}

// givenPorts are the ports that freePort has returned. The kernel may offer one again before
// its test listens there.
var givenPorts sync.Map

// site is the Caddyfile of a registry on a port of loopback, with further options in
// its oci block and in its site.
func site(port int, storage, oci, options string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	grace_period 2s
	oci {
		storage file %s
		%s
	}
}
http://:%d {
	bind 127.0.0.1
	metrics /metrics
	oci_registry
	%s
}
`, storage, oci, port, options)
}

const allowAll = `policy {
			allow anonymous *
		}`

// registryAt speaks to a registry on a port of loopback.
type registryAt struct {
	*testing.T
	base string
}

func at(t *testing.T, port int) *registryAt {
	return &registryAt{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// transport makes a connection for each request. After a reload Caddy closes the idle
// connections of the server before in the background, and a push that met the end of
// one could not be told from a push that was refused.
var transport = &http.Transport{DisableKeepAlives: true}

// do sends a request and returns the answer with its body.
func (r *registryAt) do(method, path string, body io.Reader, fields ...string) (*http.Response, []byte) {
	r.Helper()
	if !strings.HasPrefix(path, "http") {
		path = r.base + path
	}
	request, err := http.NewRequest(method, path, body)
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
		if fields[i] == "Host" {
			request.Host = fields[i+1]
		}
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		r.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		r.Fatal(err)
	}
	return response, data
}

// want sends a request whose answer must have this status.
func (r *registryAt) want(status int, method, path string, body io.Reader, fields ...string) (*http.Response, []byte) {
	r.Helper()
	response, data := r.do(method, path, body, fields...)
	if response.StatusCode != status {
		r.Fatalf("%s %s: got status %d, want %d: %s", method, path, response.StatusCode, status, data)
	}
	return response, data
}

// pushBlob pushes content in one request.
func (r *registryAt) pushBlob(repo string, content []byte) digest.Digest {
	r.Helper()
	d := digest.FromBytes(content)
	r.want(http.StatusCreated, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), bytes.NewReader(content))
	return d
}

// pushImage pushes an image of one layer.
func (r *registryAt) pushImage(repo, tag string, layer []byte) digest.Digest {
	r.Helper()
	config := []byte(`{}`)
	manifest, err := json.Marshal(ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: r.pushBlob(repo, config), Size: int64(len(config))},
		Layers:    []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: r.pushBlob(repo, layer), Size: int64(len(layer))}},
	})
	if err != nil {
		r.Fatal(err)
	}
	r.want(http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+tag, bytes.NewReader(manifest), "Content-Type", ocispec.MediaTypeImageManifest)
	return digest.FromBytes(manifest)
}

// eventually waits until a condition holds.
func (r *registryAt) eventually(what string, holds func() bool) {
	r.Helper()
	eventually(r.T, what, holds)
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// metric reads one value of /metrics.
func (r *registryAt) metric(name string) (value float64) {
	r.Helper()
	_, page := r.want(http.StatusOK, "GET", "/metrics", nil)
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				r.Fatal(err)
			}
		}
	}
	return value
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// command is the product's command line, in a process of its own.
func command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), asCommand+"=1", "HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir, "XDG_DATA_HOME="+cmd.Dir)
	return cmd
}

// execute runs `registry` with arguments as Caddy's main function does, but in this
// process, and returns the exit status.
func execute(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) (status int) {
	registry := &cobra.Command{Use: "registry"}
	caddycmd.Commands()["registry"].CobraFunc(registry)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(registry)
	root.SetArgs(append([]string{"registry"}, args...))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		status = statusFailed
		fmt.Sscanf(err.Error(), "exiting with status %d", &status) // Caddy's error of any other status
	}
	return status
}

// runRegistry runs `registry` with arguments in this process, and returns what it printed
// on its standard output and standard error, and the exit status.
func runRegistry(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, told strings.Builder
	status = execute(t.Context(), strings.NewReader(""), &out, &told, args...)
	return out.String(), told.String(), status
}

// runJSON runs `registry` with arguments and --json, and reads what it printed.
func runJSON(t *testing.T, answer any, args ...string) {
	t.Helper()
	out, told, status := runRegistry(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), answer); err != nil || status != statusDone {
		t.Fatalf("%s: got status %d, %s%s", args, status, out, told)
	}
}

// serve starts a server process with a Caddyfile, and returns when it serves.
func serve(t *testing.T, caddyfile string) *exec.Cmd {
	t.Helper()
	cmd := command(t.Context(), t, "run", "--adapter", "caddyfile", "--config", "-")
	cmd.Stdin = strings.NewReader(caddyfile)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		log.Write(append(lines.Bytes(), '\n'))
		if strings.Contains(lines.Text(), "serving initial configuration") {
			go io.Copy(io.Discard, stderr) // or the process would block on its log
			return cmd
		}
	}
	t.Fatalf("the server did not start: %v\n%s", cmd.Wait(), log.Bytes())
	return nil
}
