package command

import (
	"os"
	"strings"
	"testing"

	"github.com/eblume/caddy-registry/core/bucket/dir"
)

// Another user's command, root's too, would leave files that the registry cannot read.
func TestAStorageBelongsToItsUser(t *testing.T) {
	made := t.TempDir()
	opened, err := dir.Open(made, dir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	r := &registry{local: made}
	if err := r.belongsTo(os.Geteuid()); err != nil {
		t.Error(err)
	}
	if err := r.belongsTo(os.Geteuid() + 1); err == nil || !strings.Contains(err.Error(), "sudo -u") {
		t.Errorf("got %v, want the user to be named", err)
	}
}
