// Package chromium runs Debian's Chromium without a window, and examines pages as people meet them:
// at two widths and at 200 %, in both themes, without scripts, by keyboard, and with axe-core.
//
//	ctx := chromium.Start(t)
//	chromium.Show(ctx, chromium.Phone, chromium.Dark)
//	chromedp.Do(ctx, chromedp.Navigate(address))
//	violations, err := chromium.Violations(ctx, chromium.Axe(t))
package chromium

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/eblume/caddy-registry/integration/server"
)

// Start starts a browser with a temporary profile, which ends with the test. It accepts any
// certificate, because each server has a new local authority of Caddy. more are further options.
func Start(t testing.TB, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(server.Tool(t, "chromium")),
		chromedp.Flag("ignore-certificate-errors", true),
		// A page that Back restores from the browser's memory reports no load, for which
		// chromedp would wait forever.
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,BackForwardCache"),
		// Pictures and measures are of pages alone.
		chromedp.Flag("hide-scrollbars", true),
		chromedp.WindowSize(1000, 1100),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to be root with one
	}
	options = append(options, more...)
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, leave := chromedp.NewContext(allocator)
	t.Cleanup(func() { leave(); stop() })
	// The first run starts the process, which must not end with a deadline.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

// Screen is a size in CSS pixels, and how many of the device's make one of them.
type Screen struct {
	Name          string
	Width, Height int64
	Scale         float64
}

// The screens of the tests. Zoomed is Desk at 200 %.
var (
	Desk   = Screen{"desk", 1280, 800, 1}
	Phone  = Screen{"phone", 390, 844, 1}
	Zoomed = Screen{"zoomed", 640, 400, 2}
)

// Theme is a colour scheme that a person prefers.
type Theme string

// The themes.
const (
	Light Theme = "light"
	Dark  Theme = "dark"
)

// Show sets the screen and the theme of the page, without loading it again.
func Show(ctx context.Context, screen Screen, theme Theme) error {
	return chromedp.Do(ctx, chromedp.EmulateViewport(screen.Width, screen.Height, chromedp.EmulateScale(screen.Scale)),
		call("Emulation.setEmulatedMedia", map[string]any{
			"features": []map[string]string{{"name": "prefers-color-scheme", "value": string(theme)},
				{"name": "prefers-reduced-motion", "value": "reduce"}},
		}))
}

// Scripts lets pages run scripts, or not. Without, expressions of tests are evaluated still, and
// neither listeners nor promises run.
func Scripts(ctx context.Context, run bool) error {
	return chromedp.Do(ctx, call("Emulation.setScriptExecutionDisabled", map[string]any{"value": !run}))
}

func call(method string, params any) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (none chromedp.Void, err error) {
		return none, t.Call(ctx, method, params, nil)
	}
}

// Axe is the source of axe-core. A missing one is treated as server.Tool treats a missing program.
func Axe(t testing.TB) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(server.Root(t), "integration", "signin", "provider", "node_modules", "axe-core", "axe.min.js"))
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("%v: run `go run ./tools` in integration", err)
	}
	if err != nil {
		t.Fatalf("%v: run `go run ./tools` in integration", err)
	}
	return string(source)
}

// Violations returns what axe-core, from its source, finds wrong with the page.
func Violations(ctx context.Context, axe string) ([]string, error) {
	if err := chromedp.Do(ctx, call("Page.setBypassCSP", map[string]any{"enabled": true})); err != nil {
		return nil, err
	}
	out, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(async () => {
		if (!window.axe) { (0, eval)(`+string(mustJSON(axe))+`) }
		const found = await axe.run(document, {resultTypes: ["violations"]})
		if (!found.passes.length) throw new Error("axe has checked nothing")
		return JSON.stringify(found.violations.map(v => v.id + ": " + v.help + ": " +
			v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + (n.any[0] || n.all[0] || n.none[0] || {}).message).join(" | ")))
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		return nil, err
	}
	var violations []string
	return violations, json.Unmarshal([]byte(out), &violations)
}

func mustJSON(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // of plain values
	}
	return data
}

// Overflow returns what is wider than the page, and nothing if the page does not scroll sideways.
func Overflow(ctx context.Context) (string, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
		const wide = document.documentElement.clientWidth
		if (document.documentElement.scrollWidth <= wide) return ""
		const out = [...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > wide + 0.5)
		return document.documentElement.scrollWidth + " > " + wide + ": " + out.slice(-3).map(e => e.outerHTML.slice(0, 160)).join(" | ")
	})()`))
}

// maxTabs bounds the presses of the tab key on a page.
const maxTabs = 600

// Unreached presses the tab key until the focus has gone around, and returns the controls that it
// has not met. Of radio buttons with one name one is enough: the arrow keys reach the others.
func Unreached(ctx context.Context) ([]string, error) {
	controls, err := chromedp.Run(ctx, chromedp.Evaluate[int](`(() => {
		window.tabbed = new Set()
		document.addEventListener("focusin", e => window.tabbed.add(e.target))
		if (document.activeElement) document.activeElement.blur()
		window.controls = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
			.filter(e => e.checkVisibility() && !e.disabled)
		return controls.length
	})()`))
	if err != nil {
		return nil, err
	}
	// A field for a date has several stops.
	for pressed := range min(maxTabs, 2*controls+8) {
		if err := chromedp.Do(ctx, chromedp.KeyEvent("\t")); err != nil {
			return nil, err
		}
		if pressed%8 != 7 {
			continue
		}
		missing, err := missed(ctx)
		if err != nil || len(missing) == 0 {
			return missing, err
		}
	}
	return missed(ctx)
}

func missed(ctx context.Context) ([]string, error) {
	out, err := chromedp.Run(ctx, chromedp.Evaluate[string](`JSON.stringify(controls.filter(e => !tabbed.has(e) &&
		!(e.type === "radio" && [...tabbed].some(o => o.type === "radio" && o.name === e.name))).map(e => e.outerHTML.slice(0, 160)))`))
	if err != nil {
		return nil, err
	}
	var all []string
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", out, err)
	}
	return all, nil
}
