package importing

import (
	"fmt"

	"github.com/eblume/caddy-registry/core"
	"github.com/eblume/caddy-registry/core/namespace"
	"github.com/eblume/caddy-registry/core/transfer"
)

// nameOf returns the name of a repository of the source in this registry. Names of mirrors are for
// a zot alone, which keeps what it has fetched under the names that mirrors have here.
func (o Order) nameOf(site *namespace.Site, name string) (string, error) {
	if _, err := core.ParseName(name); err != nil {
		return "", err
	}
	repo, mirror, ok := site.Canonical(name)
	switch {
	case !ok && site.Named(name) == "":
		return "", fmt.Errorf("this registry keeps %s only; add %s to private, and import again", site.Private, name)
	case !ok, mirror != "" && o.Zot == "":
		return "", transfer.Skip("here it is a name of the mirror " + site.Named(name) + ", which fetches the image when it is asked for")
	}
	if _, err := core.ParseName(repo); err != nil { // library/ may make it too long
		return "", err
	}
	return repo, nil
}
