// Package health answers the paths by which monitoring asks whether a registry works:
//
//	/livez             200 while the process answers
//	/readyz            503 when what is held cannot be read
//	/readyz?for=write  503 also when a push would not be kept
//	/healthz           the same as /readyz
//
// The body is one word. Callers who may see more get a JSON document that names the parts:
// the storage, its index, the mirrors' upstreams, Redis and the sign-in provider. The parts
// beside the storage never make the answer 503, because what is held is served without
// them.
//
// It does not look at anything itself: a Subject does. It decides how often. However many
// ask, one question at a time reaches the disk, its answer holds for some seconds (a write:
// for a minute), and a disk that hangs costs one goroutine.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Subject is the registry that is looked at. Each method may take as long as a hanging disk
// does. None of them may ask another machine.
type Subject interface {
	// Read returns why what is held cannot be read, and otherwise nil.
	Read(ctx context.Context) error
	// Room returns why there is no room for a push, and otherwise nil. It writes nothing.
	Room(ctx context.Context) error
	// Write returns why a push would not be kept, and otherwise nil. It writes a few bytes
	// and makes them durable.
	Write(ctx context.Context) error
	// Parts describes everything else, by what is known already.
	Parts() []Part
}

// Part is the state of one part of the registry.
type Part struct {
	Name string `json:"name"`
	// State is one word: see the constants.
	State string `json:"state"`
	// Detail says why, if there is more to say.
	Detail string `json:"detail,omitempty"`
	// Checked is when a write was last tried.
	Checked time.Time `json:"checked,omitzero"`
}

// The states of a part.
const (
	OK       = "ok"
	Failed   = "failed"   // it does not work
	Degraded = "degraded" // it works, with less than it should
	Unknown  = "unknown"  // nobody has asked it yet
)

// Report is the JSON document.
type Report struct {
	Status string `json:"status"` // OK or Unavailable
	Parts  []Part `json:"parts"`
}

// Unavailable is the status of a registry that is not ready.
const Unavailable = "unavailable"

const (
	// freshRead is how long the outcome of a read holds: probes of several load balancers
	// come some times a second.
	freshRead = 2 * time.Second
	// freshWrite is how long that of a write holds, which costs the disk two syncs.
	freshWrite = time.Minute
)

// reading is what a look that writes nothing found.
type reading struct {
	read, room error
	parts      []Part
}

// Checker answers for one Subject. It is safe for concurrent use.
type Checker struct {
	reads  look[reading]
	writes look[error]
}

// New makes a Checker. It looks at nothing before it is asked.
func New(s Subject) *Checker {
	ctx := context.Background() // a look belongs to all who ask
	c := &Checker{}
	c.reads.fresh, c.writes.fresh = freshRead, freshWrite
	c.reads.run = func() reading {
		if err := s.Read(ctx); err != nil {
			return reading{read: err, room: err}
		}
		return reading{room: s.Room(ctx), parts: s.Parts()}
	}
	c.writes.run = func() error { return s.Write(ctx) }
	return c
}

// Serves reports whether a path is one that Serve answers. These are also the paths with a
// slash too many, which Serve does not find: the next handler may answer every path with
// 200, as Caddy does, and a probe would then be green for ever.
func Serves(path string) bool { return exact(path) || exact("/"+strings.Trim(path, "/")) }

func exact(path string) bool {
	return path == livePath || path == readyPath || path == "/healthz"
}

const livePath, readyPath = "/livez", "/readyz"

// Serve answers a request for a path of Serves. detailed reports whether the caller may see
// the parts; it is called at most once, and only while the storage can be read or to show
// that it cannot.
func (c *Checker) Serve(w http.ResponseWriter, r *http.Request, detailed func(readable bool) bool) {
	w.Header().Set("Cache-Control", "no-store")
	if !exact(r.URL.Path) {
		answer(w, r, http.StatusNotFound, "not found; the path is /"+strings.Trim(r.URL.Path, "/"))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed, "only GET and HEAD are allowed here")
		return
	}
	if r.URL.Path == livePath {
		answer(w, r, http.StatusOK, OK)
		return
	}
	purpose := r.URL.Query().Get("for")
	if purpose != "" && purpose != "read" && purpose != "write" {
		answer(w, r, http.StatusBadRequest, "for must be read or write")
		return
	}
	report, readable := c.look(r.Context(), purpose == "write")
	status := http.StatusOK
	if report.Status != OK {
		status = http.StatusServiceUnavailable
	}
	if !detailed(readable) {
		answer(w, r, status, report.Status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		json.NewEncoder(w).Encode(report) // an error is the caller's having left
	}
}

// answer sends one line.
func answer(w http.ResponseWriter, r *http.Request, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write([]byte(line + "\n")) // an error is the caller's having left
	}
}

// look returns a report, and whether the storage can be read.
func (c *Checker) look(ctx context.Context, forWrite bool) (report Report, readable bool) {
	found, err := c.reads.get(ctx)
	if err == nil {
		err = found.found.read
	}
	write := Part{Name: "write", State: Unknown, Detail: "not tried yet; ask with ?for=write"}
	switch {
	case err != nil:
		write = part("write", err)
	case found.found.room != nil:
		write = part("write", found.found.room)
	case forWrite:
		tried, err := c.writes.get(ctx)
		if err == nil {
			err = tried.found
		}
		write = part("write", err)
		write.Checked = tried.at
	default:
		if tried := c.writes.peek(); tried != nil {
			write = part("write", tried.found)
			write.Checked = tried.at
		}
	}
	report = Report{Status: OK, Parts: append([]Part{part("storage", err), write}, found.found.parts...)}
	if err != nil || forWrite && write.State != OK {
		report.Status = Unavailable
	}
	return report, err == nil
}

// part is one that works unless there is an error.
func part(name string, err error) Part {
	if err != nil {
		return Part{Name: name, State: Failed, Detail: err.Error()}
	}
	return Part{Name: name, State: OK}
}
