package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/core"
)

// Repositories of other mirrors are not examined, and of hidden ones no more than one
// page may skip.
func TestACatalogLooksAtNoMoreThanItMay(t *testing.T) {
	m := &Mirror{name: "docker.io", rights: newMemo[string, knownRights](maxRights)}
	m.settings.Store(&Settings{MaxStale: time.Hour})
	var held []string
	for i := range 3 * core.MaxPassed {
		name := fmt.Sprintf("docker.io/team/a%05d", i)
		held = append(held, name)
		m.rights.set(name, knownRights{rights{Hidden: true, Asked: time.Now()}, true})
	}
	for i := range 1000 {
		held = append(held, fmt.Sprintf("ghcr.io/team/a%05d", i))
	}
	looks := 0
	local := func(yield func(string, error) bool) {
		for _, name := range held {
			if looks++; !yield(name, nil) {
				return
			}
		}
	}
	list := func(ctx context.Context) (names int, last error) {
		looks = 0
		for _, err := range m.mine(ctx, local) {
			if last = err; err == nil {
				names++
			}
		}
		return names, last
	}
	names, err := list(t.Context())
	if pause, ok := errors.AsType[*core.Pause](err); !ok || pause.After != held[core.MaxPassed-1] || names != 0 || looks != core.MaxPassed {
		t.Errorf("a stranger: got %d names and %v after %d looks, want a pause after %d", names, err, looks, core.MaxPassed)
	}
	shown := core.WithReveal(t.Context(), func(repo string) bool { return strings.HasPrefix(repo, "docker.io/team/") })
	if names, err := list(shown); err != nil || names != 3*core.MaxPassed || looks != names+1 {
		t.Errorf("who may see all: got %d names and %v after %d looks", names, err, looks)
	}
}
