package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/session"
	"github.com/eblume/caddy-registry/caddymodule/token"
	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror"
	"github.com/eblume/caddy-registry/core/upstream"
)

const (
	// maxSkew is how far two clocks may be apart: tokens last a minute, and are good
	// from the second in which they were made.
	maxSkew = 30 * time.Second
	// expiresSoon is when an upstream's certificate is worth a word.
	expiresSoon = 7 * 24 * time.Hour
	// shownClients bounds whom a finding names.
	shownClients = 5
)

// finding is one thing that the doctor has seen.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"`
}

// doctorReport is what `registry doctor --json` prints.
type doctorReport struct {
	OK       bool          `json:"ok"`
	Findings []finding     `json:"findings"`
	Clients  []clientLines `json:"clients"`
}

// check is one thing that the doctor looks at. It returns what it found, and an error
// for what is wrong; it resolves no secret that it does not need.
type check struct {
	name string
	run  func(ctx context.Context) (string, error)
}

// examine runs the checks, one after the other, so that a report reads as it is
// configured.
func examine(ctx context.Context, checks []check) doctorReport {
	report := doctorReport{OK: true, Findings: []finding{}, Clients: []clientLines{}}
	for _, c := range checks {
		text, err := c.run(ctx)
		if err != nil {
			text, report.OK = err.Error(), false
		}
		report.Findings = append(report.Findings, finding{Check: c.name, OK: err == nil, Text: text})
	}
	return report
}

// patient is what the doctor looks at.
type patient struct {
	*registry
	minFree mirror.MinFree
	mirrors []mirrorPatient
	// more are checks of what the configuration has beside these.
	more []check
}

// mirrorPatient is a configured mirror. client makes what asks its upstream.
type mirrorPatient struct {
	name   string
	client func() (*upstream.Client, error)
}

// checks are those of the storage and of every mirror. Whoever adds something that can
// be wrong adds a check here.
func (p *patient) checks() []check {
	state, looked := new(condition), false
	checks := []check{
		{"storage", func(ctx context.Context) (text string, err error) {
			*state, text, err = p.look(ctx)
			looked = err == nil
			return text + p.risks(), err
		}},
		{"identity", func(context.Context) (string, error) {
			if !looked {
				return "", errors.New("not examined, because the storage was not reached")
			}
			return state.identity()
		}},
		{"disk", func(context.Context) (string, error) { return lookAtDisk(state.MirrorsDir, p.minFree) }},
	}
	for _, m := range p.mirrors {
		checks = append(checks,
			check{"use of " + m.name, func(context.Context) (string, error) {
				return describeUse(state, m.name) + describeGone(state.Gone[m.name]), nil
			}},
			check{"upstream of " + m.name, func(ctx context.Context) (string, error) { return m.look(ctx, state.Samples[m.name]) }})
	}
	return append(checks, p.more...)
}

// condition is what an open storage tells about itself.
type condition struct {
	Process    int                     `json:"process"`
	MirrorsDir string                  `json:"mirrors_dir"`
	Usage      map[string][]mirror.Use `json:"usage"` // by configured mirror
	Held       map[string]int64        `json:"held"`  // bytes by mirror; none before the first look
	Gone       map[string]goneTags     `json:"gone"`  // by mirror
	// Damaged are records of identity, each with what to do about it.
	Damaged []string `json:"damaged,omitempty"`
	// Samples are a held repository of each mirror, to ask the upstream for.
	Samples map[string]string `json:"samples"`
}

// goneTags are tags that a mirror serves on although its upstream has deleted them.
type goneTags struct {
	Tags int  `json:"tags"`
	More bool `json:"more,omitempty"` // there may be more
}

// look asks the process that has the storage open, or opens it: its lock, its layout and
// what it rests on are looked at by that.
func (p *patient) look(ctx context.Context) (condition, string, error) {
	names := make([]string, len(p.mirrors))
	for i, m := range p.mirrors {
		names[i] = m.name
	}
	c, err := carryOut(ctx, p.registry, "/condition?"+url.Values{"mirror": names}.Encode(), func(t *trees) (c condition, err error) {
		usage := mirror.NewUsage(t.state, nil)
		defer func() { err = errors.Join(err, usage.Close()) }()
		return t.condition(ctx, usage, names)
	})
	switch {
	case err != nil:
		return condition{}, "", err
	case c.Process == 0:
		return c, fmt.Sprintf("%s is in good order, and no process uses it", p.local), nil
	}
	return c, fmt.Sprintf("%s is in use by process %d, which answers", p.local, c.Process), nil
}

// risks are what the storage's disk lets happen. They are the operator's choice, and no
// reason to call the registry sick.
func (p *patient) risks() string {
	risky, ok := p.storage.(interface{ Risks() []string })
	if !ok {
		return ""
	}
	var text strings.Builder
	for _, risk := range risky.Risks() {
		text.WriteString("; but " + risk)
	}
	return text.String()
}

// condition is what the trees tell.
func (t *trees) condition(ctx context.Context, usage *mirror.Usage, names []string) (condition, error) {
	c := condition{MirrorsDir: t.mirrorsDir, Usage: map[string][]mirror.Use{}, Gone: map[string]goneTags{}, Samples: map[string]string{}}
	damaged, err := t.damagedIdentity(ctx)
	if err != nil {
		return c, err
	}
	c.Damaged = damaged
	for _, name := range names {
		uses, err := usage.Of(ctx, name)
		if err != nil {
			return c, err
		}
		c.Usage[name] = uses
		n, more, err := mirror.CountGone(ctx, t.state, name)
		if err != nil {
			return c, err
		}
		c.Gone[name] = goneTags{n, more}
		for repo, err := range t.mirrors.Repositories(ctx, name+"/") {
			if err != nil {
				return c, err
			}
			if remote, ok := strings.CutPrefix(repo, name+"/"); ok {
				c.Samples[name] = remote
			}
			break
		}
	}
	return c, nil
}

// damagedIdentity returns the damaged records of identity, each with what to do about it.
func (t *trees) damagedIdentity(ctx context.Context) (damaged []string, err error) {
	for _, look := range []func(context.Context, bucket.Bucket) ([]string, error){identity.Examine, token.Examine, session.Examine} {
		some, err := look(ctx, t.identity)
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		damaged = append(damaged, some...)
	}
	return damaged, nil
}

// identity says which records of identity are damaged.
func (c *condition) identity() (string, error) {
	if len(c.Damaged) > 0 {
		return "", errors.New(strings.Join(c.Damaged, "\n"))
	}
	return "every key, user and signing key can be read", nil
}

// lookAtDisk compares what is free with what should be.
func lookAtDisk(directory string, minFree mirror.MinFree) (string, error) {
	if directory == "" {
		return "mirrors keep on no local disk", nil
	}
	free, total, err := mirror.DiskOf(directory).Space()
	if errors.Is(err, errors.ErrUnsupported) {
		return "this system does not tell how much is free", nil
	}
	if err != nil {
		return "", err
	}
	least := minFree.Of(total)
	text := fmt.Sprintf("%s of %s are free below %s; mirrors leave %s free",
		humanize.IBytes(uint64(free)), humanize.IBytes(uint64(total)), directory, humanize.IBytes(uint64(least)))
	if free < least {
		return "", fmt.Errorf("%s: they evict, and then keep no more", text)
	}
	return text, nil
}

// describeUse says who asked a mirror. That nobody did is no fault of the registry.
func describeUse(c *condition, name string) string {
	uses := c.Usage[name]
	if len(uses) == 0 {
		return "nobody has asked it in the last 30 days; below are the lines that make a client use it"
	}
	requests, forms := uint64(0), []string{}
	var clients []string
	for _, use := range uses {
		requests += use.Requests
		if !slices.Contains(forms, use.Form) {
			forms = append(forms, use.Form)
		}
		if !slices.Contains(clients, use.Client) {
			clients = append(clients, use.Client)
		}
	}
	slices.Sort(forms)
	shown := strings.Join(clients[:min(len(clients), shownClients)], ", ")
	if more := len(clients) - shownClients; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	text := fmt.Sprintf("%d requests in the last 30 days, by %s, from %s, the last at %s",
		requests, strings.Join(forms, ", "), shown, uses[0].Last.Format(time.RFC3339))
	if held, ok := c.Held[name]; ok {
		text += "; " + humanize.IBytes(uint64(max(held, 0))) + " held"
	}
	return text
}

// describeGone says that tags are served which the upstream has deleted. That is what
// `gone serve` is for, and no fault.
func describeGone(gone goneTags) string {
	switch {
	case gone.Tags == 0:
		return ""
	case gone.More:
		return fmt.Sprintf("; at least %d tags that the upstream has deleted are served on, until they are purged", gone.Tags)
	}
	return fmt.Sprintf("; %d tags that the upstream has deleted are served on, until they are purged", gone.Tags)
}

// look reaches the upstream.
func (m mirrorPatient) look(ctx context.Context, sample string) (string, error) {
	client, err := m.client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	tag := "latest"
	if m.name == dockerHub {
		sample = "ratelimitpreview/test" // Docker's own, made for this question
	}
	var said []string
	var wrong []error
	for _, found := range client.Probe(ctx, sample, tag) {
		text, err := describe(found, client.Credentialed())
		said = append(said, text)
		wrong = append(wrong, err)
	}
	if err := errors.Join(wrong...); err != nil {
		return "", err
	}
	return strings.Join(said, "; "), nil
}

// describe says what was found at one URL.
func describe(f upstream.Found, credentialed bool) (string, error) {
	if f.Err != nil {
		return "", fmt.Errorf("%s: %w", f.URL, f.Err)
	}
	text := f.URL + " answers"
	switch {
	case f.TLS == "":
		text += ", without TLS"
	case time.Until(f.Expires) < expiresSoon:
		text += fmt.Sprintf(", %s with a certificate that ends at %s", f.TLS, f.Expires.Format(time.RFC3339))
	default:
		text += ", " + f.TLS
	}
	who := "anonymously"
	if credentialed {
		who = "with the credentials"
	}
	switch f.Auth {
	case "none":
		text += ", asks for no token"
	default:
		text += ", asks for a " + map[string]string{"basic": "password", "token": "token"}[f.Auth] + ", was asked " + who
	}
	if l := f.Limit; !l.At.IsZero() {
		text += fmt.Sprintf(", %d of %d pulls in %s are left", l.Remaining, l.Limit, l.Window)
	}
	switch skew := f.Skew.Abs(); {
	case !f.Dated:
	case skew > maxSkew:
		return "", fmt.Errorf("%s, its clock and ours are %s apart: tokens and certificates fail by that", text, skew)
	case skew > time.Second: // the header has whole seconds
		text += fmt.Sprintf(", its clock and ours are %s apart", skew)
	default:
		text += ", its clock agrees"
	}
	return text, nil
}
