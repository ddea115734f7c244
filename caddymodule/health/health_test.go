package health

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a Subject that counts how often it is looked at.
type fake struct {
	read, room, write    error
	reads, rooms, writes atomic.Int32
	hang                 chan struct{} // Read returns when it is closed; nil: at once
	hangWrite            chan struct{}
}

func (f *fake) Read(context.Context) error {
	f.reads.Add(1)
	if f.hang != nil {
		<-f.hang
	}
	return f.read
}

func (f *fake) Room(context.Context) error { f.rooms.Add(1); return f.room }

func (f *fake) Write(context.Context) error {
	f.writes.Add(1)
	if f.hangWrite != nil {
		<-f.hangWrite
	}
	return f.write
}

func (f *fake) Parts() []Part {
	return []Part{{Name: "mirror docker.io", State: Failed, Detail: "away"}}
}

// ask sends a request to c, as somebody who may see the parts or not.
func ask(c *Checker, method, target string, detailed bool) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.Serve(w, httptest.NewRequest(method, target, nil), func(bool) bool { return detailed })
	return w
}

var errDisk = errors.New("input/output error")

func TestAnswers(t *testing.T) {
	for _, row := range []struct {
		name           string
		subject        *fake
		method, target string
		status         int
		word           string
		reads, writes  int32
	}{
		{"the process answers whatever the disk does", &fake{read: errDisk}, "GET", "/livez", 200, "ok", 0, 0},
		{"ready", &fake{}, "GET", "/readyz", 200, "ok", 1, 0},
		{"ready by its older name", &fake{}, "GET", "/healthz", 200, "ok", 1, 0},
		{"ready for reads, by name", &fake{}, "GET", "/readyz?for=read", 200, "ok", 1, 0},
		{"reads fail", &fake{read: errDisk}, "GET", "/readyz", 503, "unavailable", 1, 0},
		{"reads fail, by the older name", &fake{read: errDisk}, "GET", "/healthz", 503, "unavailable", 1, 0},
		// Pulls go on where pushes cannot.
		{"no room, and nobody asks for writes", &fake{room: errDisk}, "GET", "/readyz", 200, "ok", 1, 0},
		{"writes would fail, and nobody asks for them", &fake{write: errDisk}, "GET", "/readyz", 200, "ok", 1, 0},
		{"no room for writes", &fake{room: errDisk}, "GET", "/readyz?for=write", 503, "unavailable", 1, 0},
		{"writes fail", &fake{write: errDisk}, "GET", "/readyz?for=write", 503, "unavailable", 1, 1},
		{"writes work", &fake{}, "GET", "/readyz?for=write", 200, "ok", 1, 1},
		{"reads fail, so nothing is written", &fake{read: errDisk}, "GET", "/readyz?for=write", 503, "unavailable", 1, 0},
		{"HEAD has no body", &fake{}, "HEAD", "/readyz", 200, "", 1, 0},
		// A typing mistake must not look as if writes worked.
		{"for something else", &fake{}, "GET", "/readyz?for=wirte", 400, "for must be read or write", 0, 0},
		{"another method", &fake{}, "POST", "/readyz", 405, "only GET and HEAD are allowed here", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := ask(New(row.subject), row.method, row.target, false)
			if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != row.status || got != row.word {
				t.Errorf("got %d %q, want %d %q", w.Code, got, row.status, row.word)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control is %q", got)
			}
			if got := row.subject.reads.Load(); got != row.reads {
				t.Errorf("read %d times, want %d", got, row.reads)
			}
			if got := row.subject.writes.Load(); got != row.writes {
				t.Errorf("wrote %d times, want %d", got, row.writes)
			}
		})
	}
}

// A probe of a path with a slash too many is not green for ever.
func TestPathsThatAreNearlyRight(t *testing.T) {
	for path, want := range map[string]bool{
		"/livez": true, "/readyz": true, "/healthz": true, "/readyz/": true, "//readyz": true, "/livez/": true, "/healthz//": true,
		"/": false, "/ready": false, "/readyz/x": false, "/Readyz": false, "/v2/readyz": false,
	} {
		if got := Serves(path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
		if !want {
			continue
		}
		status := http.StatusOK
		if strings.Trim(path, "/") != path[1:] {
			status = http.StatusNotFound
		}
		if got := ask(New(&fake{}), "GET", "http://x"+path, true); got.Code != status {
			t.Errorf("%s: got status %d, want %d", path, got.Code, status)
		}
	}
}

func TestPartsAreForThoseWhoMaySeeThem(t *testing.T) {
	c := New(&fake{write: errDisk})
	w := ask(c, "GET", "/readyz?for=write", true)
	var report Report
	if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"storage": OK, "write": Failed, "mirror docker.io": Failed}
	for _, p := range report.Parts {
		if p.State != want[p.Name] {
			t.Errorf("%s is %s, want %q", p.Name, p.State, want[p.Name])
		}
		delete(want, p.Name)
	}
	if len(want) > 0 || report.Status != Unavailable || w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d %+v, without %v", w.Code, report, want)
	}
	if w := ask(c, "GET", "/readyz?for=write", false); strings.Contains(w.Body.String(), "error") {
		t.Errorf("a stranger sees %s", w.Body)
	}
}

func TestTheDiskIsAskedOncePerWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		subject := &fake{}
		c := New(subject)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if w := ask(c, "GET", "/readyz?for=write", false); w.Code != http.StatusOK {
					t.Errorf("got %d", w.Code)
				}
			})
		}
		all.Wait()
		if reads, writes := subject.reads.Load(), subject.writes.Load(); reads != 1 || writes != 1 {
			t.Errorf("a hundred questions made %d reads and %d writes", reads, writes)
		}
		for range 60 { // a second each
			time.Sleep(time.Second)
			ask(c, "GET", "/readyz?for=write", false)
		}
		if reads, writes := subject.reads.Load(), subject.writes.Load(); reads > 31 || reads < 30 || writes != 2 {
			t.Errorf("in a minute there were %d reads and %d writes", reads, writes)
		}
	})
}

func TestADiskThatHangsCostsOneGoroutine(t *testing.T) {
	for _, target := range []string{"/readyz", "/readyz?for=write"} {
		t.Run(target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				subject := &fake{hang: hang}
				asked := &subject.reads
				if target != "/readyz" {
					subject.hang, subject.hangWrite, asked = nil, hang, &subject.writes
				}
				c := New(subject)
				begun := time.Now()
				var all sync.WaitGroup
				for range 100 {
					all.Go(func() {
						if w := ask(c, "GET", target, false); w.Code != http.StatusServiceUnavailable {
							t.Errorf("got %d while the disk hangs", w.Code)
						}
					})
				}
				all.Wait()
				if took := time.Since(begun); took != patience {
					t.Errorf("the answers took %s, want %s", took, patience)
				}
				begun = time.Now()
				for range 100 {
					if w := ask(c, "GET", target, true); !strings.Contains(w.Body.String(), "timed out: the disk has not answered for 5s") {
						t.Fatalf("got %s", w.Body)
					}
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("those who came later waited %s", took)
				}
				if n := asked.Load(); n != 1 {
					t.Errorf("the disk was asked %d times", n)
				}
				// When the disk is back, so is the registry.
				close(hang)
				synctest.Wait()
				if w := ask(c, "GET", target, false); w.Code != http.StatusOK {
					t.Errorf("got %d when the disk answers again", w.Code)
				}
			})
		})
	}
}
