package checks

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/eblume/caddy-registry/caddymodule/control"
	"github.com/eblume/caddy-registry/caddymodule/doctor"
	"github.com/eblume/caddy-registry/caddymodule/identity"
)

// shownKeys bounds which keys a finding names.
const shownKeys = 5

// describeKeys reports the keys that end soon. Those that have ended are remembered by the registry
// to explain refusals, and are not worth a warning.
func describeKeys(c *control.Condition) (string, error) {
	var soon []string
	for _, key := range c.Keys {
		if time.Now().Before(key.Expires) {
			soon = append(soon, fmt.Sprintf("%s (%q of %s) at %s", key.ID, key.Name, key.User, key.Expires.Format(time.RFC3339)))
		}
	}
	ended := len(c.Keys) - len(soon)
	if len(soon) == 0 {
		return fmt.Sprintf("no key expires within %d days; %d have expired", identity.Announced/(24*time.Hour), ended), nil
	}
	shown := strings.Join(soon[:min(len(soon), shownKeys)], ", ")
	if more := len(soon) - shownKeys; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return "", doctor.Warnf("keys that expire within %d days: %s; make others with `registry key create`", identity.Announced/(24*time.Hour), shown)
}

// describeContent reports what verifications have moved out of the way.
func describeContent(c *control.Condition) (string, error) {
	objects, bytes := 0, int64(0)
	for _, in := range c.Quarantine {
		objects, bytes = objects+in.Objects, bytes+in.Bytes
	}
	if objects > 0 {
		return "", doctor.Warnf("objects in quarantine: %d (%s), %s; they are damaged and answered as missing, until they are pushed or fetched again; `registry verify` names the repositories and tags that miss them",
			objects, humanize.IBytes(uint64(bytes)), strings.Join(c.Quarantined, ", "))
	}
	if c.Verified.IsZero() {
		return "nothing is in quarantine; the content was never verified as a whole: `registry verify` does it", nil
	}
	return "nothing is in quarantine; all content was last verified at " + c.Verified.Format(time.RFC3339), nil
}
