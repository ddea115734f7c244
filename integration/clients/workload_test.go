package clients

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.yaml.in/yaml/v3"

	"github.com/eblume/caddy-registry/integration/client"
	"github.com/eblume/caddy-registry/integration/server"
)

// trusting is a registry that trusts a forge, and a client's home that trusts it.
func trusting(t *testing.T, f *forge) (registry, home) {
	t.Helper()
	port := server.FreePort(t)
	text := strings.Replace(tiers, "policy {", fmt.Sprintf(`trusted_issuer %s {
			audience 127.0.0.1:%d
			claim repository_owner blumeops
			claim ref refs/heads/main refs/tags/*
			user {claims.actor}
			groups ci-{claims.repository_owner}
		}
		policy {
			allow group ci-blumeops create on blumeops/**
			allow user erich *`, f.issuer, port), 1)
	s := server.Start(t, server.Options{Caddyfile: text, Scheme: "https", Port: port})
	c := client.New(s.URL)
	t.Cleanup(c.Close)
	h := newHome(t)
	h.env = append(append(h.env, "SSL_CERT_FILE="+s.Authority()), f.environment()...)
	return registry{s, c}, h
}

// status is how the registry answers GET /v2/ with a Bearer.
func (r registry) status(t *testing.T, token string) (int, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	web := server.Client(time.Minute)
	defer web.CloseIdleConnections()
	response, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode, response.Header
}

// takes waits until the registry takes a token.
func (r registry) takes(t *testing.T, what, token string) {
	t.Helper()
	last := 0
	if err := server.Eventually(time.Minute, func() (bool, error) {
		last, _ = r.status(t, token)
		return last == http.StatusOK, nil
	}); err != nil {
		t.Fatalf("%s: the last status is %d: %v", what, last, err)
	}
}

// jobs returns the workflows of docs/do/jobs-without-a-key.md, read as the forge reads them.
func jobs(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(server.Root(t), "docs", "do", "jobs-without-a-key.md"))
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{}
	for _, name := range []string{"Forgejo", "GitHub"} {
		_, rest, _ := strings.Cut(string(text), "\n## "+name+"\n")
		_, rest, _ = strings.Cut(rest, "```yaml\n")
		block, _, found := strings.Cut(rest, "```")
		var workflow struct {
			On          map[string]any    `yaml:"on"`
			Permissions map[string]string `yaml:"permissions"`
			Jobs        map[string]struct {
				RunsOn string `yaml:"runs-on"`
				OpenID bool   `yaml:"enable-openid-connect"`
				Steps  []struct{ Uses, Run string }
			}
		}
		if err := yaml.Unmarshal([]byte(block), &workflow); !found || err != nil {
			t.Fatalf("the page has no workflow for %s: %v", name, err)
		}
		job := workflow.Jobs["push"]
		if job.RunsOn == "" || job.OpenID != (name == "Forgejo") || (workflow.Permissions["id-token"] == "write") != (name == "GitHub") {
			t.Errorf("%s gives this job no token: %+v", name, workflow)
		}
		scripts[name] = job.Steps[len(job.Steps)-1].Run
	}
	return scripts
}

// The registry starts while its forge is down. Then jobs push with the token that the
// forge gives them, and with nothing else.
func TestJobsPushWithTheirOwnTokens(t *testing.T) {
	f := newForge(t)
	r, h := trusting(t, f)
	early := f.token(r.Host, nil)
	if status, header := r.status(t, early); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("without the forge: got status %d, Retry-After %q, want 503", status, header.Get("Retry-After"))
	}
	f.start()
	r.takes(t, "when the forge is up", early)

	// The workflows that the page has people paste.
	for system, script := range jobs(t) {
		image := unique(t)
		h := h.fresh(t)
		tag, err := name.NewTag("app:v1")
		if err != nil {
			t.Fatal(err)
		}
		if err := tarball.WriteToFile(filepath.Join(h.dir, "image.tar"), tag, image); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c", strings.ReplaceAll(script, "registry.example.org", r.Host))
		cmd.Dir, cmd.Env = h.dir, append(h.env, "GITHUB_SHA="+strings.ToLower(system))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the job for %s: %v: %s", system, err, out)
		}
		if _, err := r.verify(t.Context(), "blumeops/app", strings.ToLower(system)); err != nil {
			t.Errorf("the image that the job for %s pushed: %v", system, err)
		}
	}

	job := func(changes map[string]any) caller { return caller{"job", f.token(r.Host, changes)} }
	clients := map[string]func(h home, who caller, image v1.Image, ref string) error{
		"skopeo": func(h home, who caller, image v1.Image, ref string) error {
			return command(t, h, "skopeo", "copy", "--preserve-digests", "--dest-creds", who.user+":"+who.secret, "dir:"+writeDirectory(t, image), "docker://"+ref)
		},
		"crane": func(h home, who caller, image v1.Image, ref string) error {
			if err := command(t, h, "crane", "auth", "login", "--username", who.user, "--password", who.secret, r.Host); err != nil {
				return err
			}
			return command(t, h, "crane", "push", writeLayout(t, image), ref)
		},
		"curl": func(h home, who caller, image v1.Image, ref string) error { return curlPush(t, h, who, image, ref) },
	}
	for tool, push := range clients {
		t.Run(tool, func(t *testing.T) {
			ref, first, other := r.ref("blumeops/app:"+tool), unique(t), unique(t)
			must := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			refused := func(what string, err error, says *regexp.Regexp) {
				t.Helper()
				if err == nil || !says.MatchString(err.Error()) {
					t.Errorf("%s: got %v, want it refused as %s", what, err, says)
				}
			}
			must("a job makes a tag", push(h.fresh(t), job(nil), first, ref))
			r.holds(t, "blumeops/app", tool, digestOf(t, first))
			must("and again", push(h.fresh(t), job(nil), first, ref))
			refused("it overwrites", push(h.fresh(t), job(nil), other, ref), denied)
			// The actor is erich, who may do everything, but the job does not have his rights.
			refused("it pushes elsewhere", push(h.fresh(t), job(nil), other, r.ref("others/app:v1")), denied)
			refused("a token for another audience", push(h.fresh(t), caller{"job", f.token("other.example.org", nil)}, other, r.ref("blumeops/app:v2")), wrong)
			refused("a job of another owner", push(h.fresh(t), job(map[string]any{"repository_owner": "evil"}), other, r.ref("blumeops/app:v2")), wrong)
			refused("a branch", push(h.fresh(t), job(map[string]any{"ref": "refs/heads/a"}), other, r.ref("blumeops/app:v2")), wrong)
			refused("a token that has ended", push(h.fresh(t), job(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), other, r.ref("blumeops/app:v2")), wrong)
			r.holds(t, "blumeops/app", tool, digestOf(t, first))
			r.lacks(t, "blumeops/app", "v2")
		})
	}

	// The forge has another key: those of the old one are gone with the next question.
	before := f.token(r.Host, nil)
	f.rotate()
	r.takes(t, "after a rotation", f.token(r.Host, nil))
	if status, _ := r.status(t, before); status != http.StatusUnauthorized {
		t.Errorf("a token by the old key: got status %d, want 401", status)
	}
	// Its keys are known while it is down.
	f.stop()
	if err := curlPush(t, h, job(nil), unique(t), r.ref("blumeops/app:late")); err != nil {
		t.Errorf("while the forge is down: %v", err)
	}
	for _, secret := range []string{early, before} {
		if strings.Contains(r.Log(), secret) {
			t.Error("the log has a token")
		}
	}
}
