package signin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/eblume/caddy-registry/integration/server"
)

// besideCaddyfile is a registry with a mirror, and beside it on the same host a test site that
// frames, links and runs any address, as a careless page of the operator could. Its access log,
// with cookies, is the record of the browser's requests.
const besideCaddyfile = `{
	grace_period 1s
	skip_install_trust
	auto_https disable_redirects
	servers {
		log_credentials
	}
	oci {
		storage file {$REGISTRY_DATA}
		url https://127.0.0.1:{$REGISTRY_PORT}
		local_user erich ` + hash + ` admins
		mirror up.example {
			upstream %[1]s
			allow_private 127.0.0.0/8
		}
		policy {
			allow anonymous read fetch
			allow group artifact-workloads read fetch create
			allow group admins *
		}
	}
}

https://127.0.0.1:{$REGISTRY_PORT} {
	tls internal
	log {
		output file %[2]q
		format json
	}
	handle /beside/* {
		reverse_proxy %[3]s
	}
	handle {
		oci_registry
	}
}
`

// asked is one request of the browser, as the access log has it.
type asked struct {
	Status  int `json:"status"`
	Request struct {
		Method  string      `json:"method"`
		URI     string      `json:"uri"`
		Headers http.Header `json:"headers"`
	} `json:"request"`
	Answer http.Header `json:"resp_headers"`
}

// session reports whether the request carried a session's cookie.
func (a asked) session() bool {
	return strings.Contains(strings.Join(a.Request.Headers["Cookie"], "; "), "__Host-")
}

func (a asked) String() string {
	return fmt.Sprintf("%s %s (session %t): %d", a.Request.Method, a.Request.URI, a.session(), a.Status)
}

// watch is a registry, a signed-in browser, and the record of the browser's requests.
type watch struct {
	*server.Server
	browser *browser
	log     string
	seen    int64 // bytes of the log that were read
}

// newWatch starts the registry over data with upstream as its mirror's, and signs
// erich in.
func newWatch(t *testing.T, data string, upstream http.Handler) *watch {
	t.Helper()
	server.Tool(t, "chromium")
	up := httptest.NewServer(upstream)
	beside := httptest.NewServer(http.HandlerFunc(besidePage))
	t.Cleanup(up.Close)
	t.Cleanup(beside.Close)
	w := &watch{log: filepath.Join(t.TempDir(), "access.log")}
	w.Server = server.Start(t, server.Options{
		Data: data, Scheme: "https",
		Caddyfile: fmt.Sprintf(besideCaddyfile, up.URL, w.log, beside.URL),
	})
	w.browser = newBrowser(t, w.URL)
	return w
}

// signIn signs erich in by the form, on the way to a path of the registry.
func (w *watch) signIn(returnTo string) {
	w.browser.Helper()
	b := w.browser
	b.do("open the form", func(ctx context.Context, page *chromedp.Target) (done chromedp.Void, err error) {
		// The server has seen the request of the last visit, which the browser may be busy
		// with still: then that ends this one.
		for range 10 {
			done, err = chromedp.Navigate(b.base+"/login?return="+url.QueryEscape(returnTo))(ctx, page)
			if err == nil || !strings.Contains(err.Error(), "net::ERR_ABORTED") {
				break
			}
		}
		return done, err
	})
	b.do("sign in",
		chromedp.WaitVisible(chromedp.CSS(`input[name=password]`)),
		chromedp.SendKeys(chromedp.CSS(`input[name=username]`), "erich"),
		chromedp.SendKeys(chromedp.CSS(`input[name=password]`), password),
		chromedp.Click(chromedp.ID("login")))
	w.until("GET", returnTo)
}

// visit opens an address, waits until the browser has loaded it completely, and returns the
// browser's requests to the registry's host. A download, or an address without a page, also
// counts as a visit.
func (w *watch) visit(address string) []asked {
	w.browser.Helper()
	w.read() // late requests do not belong to this visit; all requests are checked at the end
	var refused *chromedp.LoadError
	err := chromedp.Do(w.browser.ctx, chromedp.Navigate(address))
	if err != nil && !errors.As(err, &refused) {
		w.browser.Fatalf("open %s: %v", address, err)
	}
	path := strings.TrimPrefix(address, w.URL)
	if path == address {
		return w.read()
	}
	return w.until("GET", path)
}

// until reads the record until it has a request of that path, and returns all up to then.
func (w *watch) until(method, path string) (all []asked) {
	w.browser.Helper()
	if err := server.Eventually(patience, func() (bool, error) {
		all = append(all, w.read()...)
		for _, a := range all {
			if a.Request.Method == method && sameURI(a.Request.URI, path) {
				return true, nil
			}
		}
		return false, nil
	}); err != nil {
		w.browser.Fatalf("the browser did not request %s %s: %v; it requested %v", method, path, err, all)
	}
	return all
}

// sameURI compares request targets, which browsers escape in their own way.
func sameURI(a, b string) bool {
	first, errA := url.PathUnescape(a)
	second, errB := url.PathUnescape(b)
	return errA == nil && errB == nil && first == second
}

// read returns the whole lines that were added to the record.
func (w *watch) read() (all []asked) {
	w.browser.Helper()
	data, err := os.ReadFile(w.log)
	if err != nil && !os.IsNotExist(err) {
		w.browser.Fatal(err)
	}
	data = data[min(w.seen, int64(len(data))):]
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	w.seen += int64(len(data))
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var a asked
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			w.browser.Fatalf("access log: %v", err)
		}
		all = append(all, a)
	}
	return all
}

// besidePage is the site beside the registry. Its pages use an address in every way that pages
// can: /beside/use frames, links and runs it, /beside/post sends a form to it. /beside/strange
// is content with a type, both from the query, to show that the record detects what such
// content does. Everything else is empty.
func besidePage(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch r.URL.Path {
	case "/beside/strange":
		w.Header().Set("Content-Type", query.Get("type"))
		w.Header().Set("Service-Worker-Allowed", "/")
		fmt.Fprint(w, query.Get("content"))
	case "/beside/use":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		address := html.EscapeString(query.Get("address"))
		fmt.Fprintf(w, usePage, address, mustJSON(query.Get("address")))
	case "/beside/post":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<form method=post action="%s"><input name=a value="<script>1</script>"></form><script>document.forms[0].submit()</script>`,
			html.EscapeString(query.Get("address")))
	}
}

func mustJSON(value any) []byte {
	data, err := json.Marshal(value) // escapes < and >, so that it fits into a script
	if err != nil {
		panic(err) // plain strings only
	}
	return data
}

// usePage uses an address in every way that a page can. It shows DONE when all of them have
// finished, so that any script has run by then.
const usePage = `<!doctype html>
<iframe src="%[1]s"></iframe><object data="%[1]s"></object><embed src="%[1]s"><img src="%[1]s">
<link rel=stylesheet href="%[1]s"><link rel=icon href="%[1]s"><link rel=import href="%[1]s"><link rel=manifest href="%[1]s">
<video src="%[1]s"></video><script src="%[1]s"></script><script type=module src="%[1]s"></script>
<script>
const address = %[2]s, done = [];
const ended = (o, yes, no) => new Promise(r => { o[yes] = o[no] = () => r() });
done.push(fetch(address).then(r => r.text()).catch(() => 0));
done.push(import(address).catch(() => 0));
for (const type of ['classic', 'module']) {
	const worker = new Worker(address, {type});
	done.push(ended(worker, 'onmessage', 'onerror'));
}
for (const scope of ['/', undefined])
	done.push(navigator.serviceWorker.register(address, scope ? {scope} : {}).then(r => r.unregister()).catch(() => 0));
addEventListener('load', () => Promise.all(done).then(() => {
	document.body.insertAdjacentHTML('beforeend', '<h1>DONE</h1>');
}));
</script>`
