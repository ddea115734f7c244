package pages

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/eblume/caddy-registry/integration/chromium"
	"github.com/eblume/caddy-registry/integration/server"
)

var pictures = flag.String("pictures", "", "makes pictures of the pages in this directory, which is made")

// pictureUnit makes layers as large as the figures in the pictures.
const pictureUnit = 1_000_000

// TestScreenshots makes pictures of all pages that are worth one, on both screens and in both themes.
func TestScreenshots(t *testing.T) {
	if *pictures == "" {
		t.Skip("no -pictures: `make screenshots` has it")
	}
	if err := os.MkdirAll(*pictures, 0o755); err != nil {
		t.Fatal(err)
	}
	h := open(t, pictureUnit)
	// Pulls are counted a while later.
	if err := server.Eventually(patience, func() (bool, error) {
		h.visit("/images/blumeops/homepage")
		text, err := chromedp.Run(h.ctx, chromedp.Text(chromedp.CSS(".facts")))
		return strings.Contains(text, "Pulls\n7"), err
	}); err != nil {
		t.Fatalf("pulls of private images are not counted: %v", err)
	}
	h.picture(h.forVisitors())
	h.signIn("zot-ci")
	h.picture(forUsers("zot-ci"))
	id := h.keys("erich")
	h.keys("zot-ci")
	h.signIn("erich")
	h.picture(h.forAdministrators(id))
	open(t, 0).picture([]shown{{"empty", "/", nil, nil, true}})
}

// picture makes the pictures of pages, each as long as it is.
func (h *house) picture(all []shown) {
	h.Helper()
	for _, s := range all {
		if !s.pictured {
			continue
		}
		h.display(chromium.Desk, chromium.Light)
		h.show(s)
		for _, screen := range []chromium.Screen{chromium.Desk, chromium.Phone} {
			for _, theme := range []chromium.Theme{chromium.Light, chromium.Dark} {
				h.display(screen, theme)
				png, err := chromedp.Run(h.ctx, chromedp.FullScreenshot(100))
				if err != nil {
					h.Fatalf("%s: %v", s.name, err)
				}
				name := strings.ReplaceAll(s.name, " ", "-") + "-" + screen.Name + "-" + string(theme) + ".png"
				if err := os.WriteFile(filepath.Join(*pictures, name), png, 0o644); err != nil {
					h.Fatal(err)
				}
			}
		}
	}
}
