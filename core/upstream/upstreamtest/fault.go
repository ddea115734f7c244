package upstreamtest

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault says how some requests fail. The empty members match every request; of
// several faults that match, the first added one acts.
type Fault struct {
	// Host is "registry", "token" or "storage".
	Host string
	// Method is GET or HEAD.
	Method string
	// Path is a part of the path.
	Path string
	// Times is how many requests are hit; 0: all until Lift.
	Times int

	// Status is answered instead, with Header and Body. With Status 0, Header is
	// added to the usual answer.
	Status int
	Header http.Header
	Body   string
	// Hang accepts the request and does not answer until Lift.
	Hang bool

	// After is where CutOff, Stall and Short act, in bytes of the body.
	After int64
	// CutOff drops the connection there.
	CutOff bool
	// Stall sends nothing more until Lift.
	Stall bool
	// Short ends the body cleanly there, without having said a length.
	Short bool
	// Pause is the time between two halves of each KiB: a slow upstream.
	Pause time.Duration
	// Corrupt changes the body's first byte.
	Corrupt bool
	// NoLength and NoDigest leave out Content-Length and Docker-Content-Digest.
	NoLength, NoDigest bool
	// NoRange ignores a Range and sends everything.
	NoRange bool
}

// Active is a Fault that an Upstream has.
type Active struct {
	Fault
	lifted chan struct{}
	once   sync.Once
	hits   int // guarded by the Upstream
}

// Lift ends the fault, also for the requests that hang or stall in it.
func (f *Active) Lift() { f.once.Do(func() { close(f.lifted) }) }

func (f *Active) active() bool {
	select {
	case <-f.lifted:
		return false
	default:
		return f.Times == 0 || f.hits < f.Times
	}
}

func (f *Active) matches(host string, r *http.Request) bool {
	return f.active() &&
		(f.Host == "" || f.Host == host) &&
		(f.Method == "" || f.Method == r.Method) &&
		strings.Contains(r.URL.Path, f.Path)
}

// answer writes the whole answer if the fault replaces it.
func (f *Active) answer(w http.ResponseWriter, r *http.Request) (done bool) {
	if f.Hang {
		f.wait(r)
	}
	if f.Status == 0 {
		return false
	}
	f.headers(w)
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body)) // the client may have gone
	return true
}

// headers adds the fault's, which win over the usual ones.
func (f *Active) headers(w http.ResponseWriter) {
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
}

// wait ends with Lift or when the client has gone, and then ends the handler.
func (f *Active) wait(r *http.Request) {
	select {
	case <-f.lifted:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// send writes a body with the fault's damage. f may be nil.
func (f *Active) send(w http.ResponseWriter, r *http.Request, status int, data []byte) {
	if f == nil {
		f = &Active{}
	}
	if f.Corrupt && len(data) > 0 {
		data = bytes.Clone(data)
		data[0] ^= 0x20
	}
	if f.NoDigest {
		w.Header().Del("Docker-Content-Digest")
	}
	if !f.NoLength && !f.Short {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	f.headers(w)
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	flush := func() { _ = http.NewResponseController(w).Flush() }
	if f.NoLength || f.Short {
		flush() // before a first write, or the server counts the bytes itself
	}
	if f.CutOff || f.Stall || f.Short {
		at := min(f.After, int64(len(data)))
		f.write(w, r, data[:at])
		flush()
		switch {
		case f.CutOff:
			panic(http.ErrAbortHandler)
		case f.Short:
			return
		}
		f.wait(r)
		data = data[at:]
	}
	f.write(w, r, data)
}

func (f *Active) write(w http.ResponseWriter, r *http.Request, data []byte) {
	if f.Pause == 0 {
		_, _ = w.Write(data) // the client may have gone
		return
	}
	for len(data) > 0 {
		n := min(512, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		data = data[n:]
		select {
		case <-time.After(f.Pause):
		case <-r.Context().Done():
			return
		}
	}
}
