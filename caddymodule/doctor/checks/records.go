package checks

import (
	"errors"
	"fmt"
	"strings"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/storage"
)

// describeRecords reports damaged records. Those of mirrors are learned again.
func describeRecords(c *control.Condition) (string, error) {
	looked, more := 0, ""
	for _, tree := range []string{storage.PrivateTree, storage.MirrorsTree} {
		look := c.Records[tree]
		looked += look.Looked
		if look.More {
			more = "; there are more, which `registry verify` examines"
		}
		if look.Wrong == 0 {
			continue
		}
		text := fmt.Sprintf("damaged records of tags, referrers and manifests (%s): %d: %s", tree, look.Wrong, strings.Join(look.Named, "; "))
		if hidden := look.Wrong - len(look.Named); hidden > 0 {
			text += fmt.Sprintf("; and %d more", hidden)
		}
		if tree == storage.MirrorsTree {
			return "", doctor.Warning(text + "; a mirror asks its upstream again")
		}
		return "", errors.New(text + "; push the image again, or delete it, as an administrator")
	}
	return fmt.Sprintf("%d records of tags, referrers and manifests are in good order%s", looked, more), nil
}
