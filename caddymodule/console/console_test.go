package console

import (
	"bytes"
	"errors"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func TestErrorsArePlainUnlessJSONIsAskedFor(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		err  error
		want string
	}{
		{"plain", nil, errors.New("there is no <storage>"), "error: there is no <storage>\n"},
		{"JSON", []string{"--json"}, errors.New("there is no <storage>"), `{"error":"there is no <storage>"}` + "\n"},
		{"reported already", nil, nil, ""},
	} {
		for _, status := range []int{1, 2} {
			var out bytes.Buffer
			cmd := &cobra.Command{RunE: func(cmd *cobra.Command, _ []string) error { return Fail(cmd, status, row.err) }}
			cmd.Flags().Bool("json", false, "")
			cmd.SetErr(&out)
			cmd.SetOut(&out)
			cmd.SetArgs(row.args)
			err := cmd.Execute()
			if err == nil || out.String() != row.want {
				t.Errorf("%s, status %d: got %q and the error %v, want %q", row.name, status, out.String(), err, row.want)
			}
		}
	}
	// Only an error of Caddy's own carries another status than 1.
	cmd := &cobra.Command{}
	carried := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return 2, nil })(cmd, nil)
	if got := Fail(cmd, 2, nil); got.Error() != carried.Error() {
		t.Errorf("got %v, want %v", got, carried)
	}
}

func TestWarningsOfLibrariesArePlain(t *testing.T) {
	var out bytes.Buffer
	log := Logger(&out)
	log.Info("using adjacent Caddyfile")
	log.Warn("input is not formatted", zap.String("file", "Caddyfile"))
	log.Error("broken")
	if want := "warning: input is not formatted {\"file\": \"Caddyfile\"}\nerror: broken\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
