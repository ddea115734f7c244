package registrytest

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what configurations name

	"github.com/eblume/caddy-registry/caddymodule/caddytest"
	"github.com/eblume/caddy-registry/caddymodule/running"
)

// Adapt returns the JSON of a Caddyfile.
func Adapt(t testing.TB, text string) []byte {
	t.Helper()
	config, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// AdaptError returns why a Caddyfile is refused, or nil.
func AdaptError(text string) error {
	_, err := adapt(text)
	return err
}

// Validate checks a configuration, as `caddy validate` does, and returns why it is refused.
func Validate(t *testing.T, config string) error {
	t.Helper()
	var parsed caddy.Config
	if err := json.Unmarshal([]byte(config), &parsed); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&parsed)
}

// Load runs a Caddyfile in this process, instead of what ran before. It is stopped when the
// test ends.
func Load(t testing.TB, text string) {
	t.Helper()
	LoadJSON(t, Adapt(t, text))
}

// LoadJSON runs a configuration in this process, as Load does.
func LoadJSON(t testing.TB, config []byte) {
	t.Helper()
	if err := TryLoad(t, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		Released(t)
	})
}

// TryLoad loads a configuration that may be refused: what ran before runs on then.
// Whichever it is, requests may follow at once.
func TryLoad(t testing.TB, config []byte) error {
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
			Eventually(t, "one server listens on "+text, func() bool {
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

// Released waits until no request holds a storage open any more: Caddy does not wait
// for the last one, whose client has its answer already, and the directory is removed.
func Released(t testing.TB) {
	t.Helper()
	Eventually(t, "every storage is closed", func() bool { return len(running.Storages()) == 0 })
}
