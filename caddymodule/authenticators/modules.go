package authenticators

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/option"
)

// namespace is that of the guest modules that verify credentials.
const namespace = "oci.authenticators."

// AddOptions adds to options one for each guest module, by the module's name. Each that is
// read adds its configuration to raw.
func AddOptions(options option.Options, raw *[]json.RawMessage) {
	for _, module := range caddy.GetModules(strings.TrimSuffix(namespace, ".")) {
		name := module.ID.Name()
		read := option.Func(func(d *caddyfile.Dispenser) error {
			module, err := caddyfile.UnmarshalModule(d, namespace+name)
			if err != nil {
				return err
			}
			*raw = append(*raw, caddyconfig.JSONModuleObject(module, "module", name, nil))
			return nil
		})
		if name != clientCertName {
			read = read.Repeated()
		}
		options[name] = read
	}
}

// Join returns the guest modules in the order in which they are asked: one for
// each trusted issuer, before the others. Errors: a module that is not an authenticator, two
// client_cert, or blocks of one issuer that contradict each other.
func Join(modules []any) ([]identity.Authenticator, error) {
	var all []identity.Authenticator
	certificates := 0
	for _, module := range modules {
		if _, ok := module.(*ClientCert); ok {
			if certificates++; certificates > 1 {
				return nil, fmt.Errorf("duplicate option %s", clientCertName)
			}
		}
		authenticator, ok := module.(identity.Authenticator)
		if !ok {
			return nil, fmt.Errorf("%T is not an authenticator", module)
		}
		all = append(all, authenticator)
	}
	return joinIssuers(all)
}
