package chromium

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A page with faults, so that a page without findings is known to have been examined.
const faulty = `<!doctype html><html lang="en"><title>x</title><style>@media (prefers-color-scheme: dark) {
	html { background: #000 } p { color: #222 } }</style><main><h1>x</h1><p>hardly to be read</p><p><input></p>
	<a href="/" tabindex="-1">not by keyboard</a><div hidden>x</div><noscript><i>no scripts</i></noscript>
	<script>if (innerWidth < 500) document.querySelector("h1").innerHTML = "<svg width=600 height=9></svg>"</script></main></html>`

func TestFaultsAreFound(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'")
		w.Write([]byte(faulty)) // an error is the browser's having left
	}))
	t.Cleanup(site.Close)
	axe := Axe(t)
	ctx, cancel := context.WithTimeout(Start(t), time.Minute)
	defer cancel()
	for _, row := range []struct {
		screen           Screen
		theme            Theme
		scripts          bool
		contrast, narrow bool
	}{
		{Desk, Light, true, false, false},
		{Desk, Dark, true, true, false},
		{Phone, Light, true, false, true},
		{Phone, Light, false, false, false},
	} {
		if err := Show(ctx, row.screen, row.theme); err != nil {
			t.Fatal(err)
		}
		if err := Scripts(ctx, row.scripts); err != nil {
			t.Fatal(err)
		}
		if err := chromedp.Do(ctx, chromedp.Navigate(site.URL)); err != nil {
			t.Fatal(err)
		}
		if shown, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("main"))); err != nil ||
			strings.Contains(shown, "no scripts") == row.scripts {
			t.Errorf("%+v: the page shows %q, %v", row, shown, err)
		}
		wide, err := Overflow(ctx)
		if err != nil || (wide != "") != row.narrow {
			t.Errorf("%+v: what is too wide is %q, %v", row, wide, err)
		}
		if !row.scripts {
			continue // neither axe-core nor the count of what has the focus runs without
		}
		violations, err := Violations(ctx, axe)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(violations, "\n")
		if !strings.Contains(all, "label: ") || strings.Contains(all, "color-contrast: ") != row.contrast {
			t.Errorf("%+v: axe found %s", row, all)
		}
		unreached, err := Unreached(ctx)
		if err != nil || len(unreached) != 1 || !strings.Contains(unreached[0], "not by keyboard") {
			t.Errorf("%+v: the tab key does not reach %q, %v", row, unreached, err)
		}
	}
}
