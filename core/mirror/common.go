package mirror

import (
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror/download"
)

// common is what the mirrors of one State remember in memory. A changed configuration makes
// another Mirror over the same content, and changing it back returns to the earlier one. They
// must share what they know about records. Otherwise a mirror would go on using a record, or the
// absence of one, that another mirror has replaced since.
//
// The upstream's answers are not shared: another configuration asks another upstream, or uses
// other credentials.
type common struct {
	checks   *memo[string, check]     // by check key: the record in State
	unshared *memo[string, time.Time] // by what was withdrawn: what others learned before that time is ignored
	rights   *memo[string, knownRights]
	lists    *weighed[list] // by key: records in State, and lists that are only in memory
	// reading has a slot for each list that is being read and decoded, which takes several times
	// as much memory as the list itself.
	reading chan struct{}
	// scratch provides temporary files for what downloads fetch ahead, and ahead bounds them.
	// nil: State has none.
	scratch bucket.Scratch
	ahead   *download.Budget

	mu      sync.Mutex           // guards mirrors
	mirrors map[*Mirror]struct{} // that are open
}

// commons has the common of each State that mirrors are open over. A State is one
// value for all of them, so it is the key.
var commons = struct {
	mu sync.Mutex // guards of
	of map[bucket.Bucket]*common
}{of: map[bucket.Bucket]*common{}}

// joinCommon finds the common of m's State, or makes it.
func joinCommon(m *Mirror) *common {
	commons.mu.Lock()
	defer commons.mu.Unlock()
	c := commons.of[m.state]
	if c == nil {
		c = &common{
			checks:   newMemo[string, check](maxChecks),
			unshared: newMemo[string, time.Time](maxUnshared),
			rights:   newMemo[string, knownRights](maxRights),
			lists:    newWeighed(maxLists, weigh),
			reading:  make(chan struct{}, maxReading),
			ahead:    &download.Budget{},
			mirrors:  map[*Mirror]struct{}{},
		}
		c.scratch, _ = m.state.(bucket.Scratch)
		commons.of[m.state] = c
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mirrors[m] = struct{}{}
	return c
}

// leaveCommon drops the common with its last mirror.
func leaveCommon(m *Mirror) {
	commons.mu.Lock()
	defer commons.mu.Unlock()
	c := m.common
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mirrors, m)
	if len(c.mirrors) == 0 && commons.of[m.state] == c {
		delete(commons.of, m.state)
	}
}

// namesakes are the open mirrors of m's repositories, with m itself.
func (m *Mirror) namesakes() []*Mirror {
	m.common.mu.Lock()
	defer m.common.mu.Unlock()
	var all []*Mirror
	for other := range m.common.mirrors {
		if other.name == m.name {
			all = append(all, other)
		}
	}
	return all
}

// present drops a remembered "not found" from memory, whichever mirror learned it.
func (m *Mirror) present(noun string) {
	for _, other := range m.namesakes() {
		other.absent.drop(noun)
	}
}
