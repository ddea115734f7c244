package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eblume/caddy-registry/caddymodule/health"
)

const (
	// healthURL is what the command asks without an argument: the site of the repository's
	// Caddyfile, which is also that of the image.
	healthURL = "http://127.0.0.1:5050/readyz"
	// healthLimit bounds the question. The registry itself gives up on a disk after 5 seconds.
	healthLimit = 10 * time.Second
	// healthBody bounds the answer that is read, in bytes.
	healthBody = 64 << 10
)

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health [<url>]",
		Short: "Asks a running registry whether it is healthy, for container engines",
		Long: `
Gets a health path of a running registry, by default ` + healthURL + `,
and prints the answer. The paths are /livez, /readyz, /readyz?for=write and /healthz.

The exit status is 0 if the registry answers that it is healthy, and 1 otherwise, also
if another program answers. It is for container engines, whose health checks run a
program of the image: the image has no shell and no curl.`,
		Example: `  caddy-registry registry health
  caddy-registry registry health http://127.0.0.1:5050/readyz?for=write`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	asked := healthURL
	cmd.Args = accepting(func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return errors.New("health takes one URL, such as " + healthURL)
		}
		if len(args) == 1 {
			asked = args[0]
		}
		u, err := url.Parse(asked)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !health.Serves(u.Path) {
			return fmt.Errorf("invalid URL %q: it must be the URL of a health path, such as %s", asked, healthURL)
		}
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := askHealth(commandContext(cmd), asked)
		if text != "" {
			fmt.Fprintln(cmd.OutOrStdout(), text)
		}
		if err != nil {
			return finish(cmd, statusFailed, err)
		}
		return nil
	}
	return cmd
}

// askHealth returns the answer of a health path, and an error unless a registry answered that
// it is healthy. Redirects are not followed: health paths have none.
func askHealth(ctx context.Context, from string) (text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, healthBody))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", from, err)
	}
	text = strings.TrimSpace(string(body))
	var report health.Report
	if json.Unmarshal(body, &report) != nil {
		report.Status = text
	}
	switch {
	case response.StatusCode == http.StatusOK && report.Status == health.OK:
		return text, nil
	case response.StatusCode == http.StatusServiceUnavailable:
		return text, fmt.Errorf("the registry at %s is not healthy", from)
	default: // Caddy answers 200 and nothing on a path that no handler has
		return text, fmt.Errorf("%s answers %s, not as a registry does; is this the address of a site with oci_registry?", from, response.Status)
	}
}
