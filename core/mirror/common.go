package mirror

import (
	"sync"
	"time"

	"github.com/eblume/caddy-registry/core/bucket"
	"github.com/eblume/caddy-registry/core/mirror/download"
)

// common is what the mirrors of one State remember in memory. A changed configuration
// makes another Mirror over the same content, and back again the one that was there
// before: what each of them learned about records must be what the other one reads, or
// a mirror would go on believing in a record, or in the absence of one, that another
// mirror has replaced since.
//
// What an upstream said is not common: another configuration asks another upstream, or
// with other credentials.
type common struct {
	checks   *memo[string, check]     // by check key: the record in State
	unshared *memo[string, time.Time] // by what was withdrawn: what others learned before is not believed
	rights   *memo[string, knownRights]
	lists    *weighed[list] // by key: records in State, and lists that are in memory alone
	// reading has a place for each list that is being read and decoded: that takes some
	// times as much memory as the list itself.
	reading chan struct{}
	// scratch lends room for what downloads fetch ahead, and ahead bounds it. nil: State has none.
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

// present drops from memory that something is not there, whichever mirror was told so.
func (m *Mirror) present(noun string) {
	for _, other := range m.namesakes() {
		other.absent.drop(noun)
	}
}
