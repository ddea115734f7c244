package importing

import (
	"fmt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/transfer"
)

// nameOf returns the name of a repository of the source in this registry. What a mirror
// serves is left alone: nothing of it may be served before the upstream has vouched for it.
func nameOf(site *namespace.Site, name string) (string, error) {
	if _, err := core.ParseName(name); err != nil {
		return "", err
	}
	if mirror := site.Named(name); mirror != "" {
		return "", transfer.Skip("here it is a name of the mirror " + mirror + ", which fetches the image when it is asked for")
	}
	if !site.Claims(name) {
		return "", fmt.Errorf("this registry keeps %s only; add %s to private, and import again", site.Private, name)
	}
	return name, nil
}
