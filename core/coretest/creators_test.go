package coretest

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestCreatorsCheck(t *testing.T) {
	one, two := digest.FromString("one"), digest.FromString("two")
	type step struct {
		op            string
		put           digest.Digest
		ok            bool
		tag           digest.Digest
		before, after int64
	}
	for _, row := range []struct {
		name  string
		steps []step
		want  bool
	}{
		{"nothing", nil, true},
		{"one creates, and all see it", []step{{"put", one, true, "", 0, 9}, {"get", "", false, one, 1, 2}, {"put", two, false, one, 1, 3}, {"delete", "", false, "", 4, 5}}, true},
		{"the same digest again", []step{{"put", one, true, "", 0, 1}, {"put", one, true, "", 2, 3}}, true},
		{"not there until it is created", []step{{"get", "", false, "", 0, 5}, {"put", one, true, "", 1, 6}}, true},
		{"a refusal that does not say what is there", []step{{"put", one, true, "", 0, 1}, {"put", two, false, "", 2, 3}}, true},

		{"two create", []step{{"put", one, true, "", 0, 9}, {"put", two, true, "", 0, 9}}, false},
		{"a delete succeeds", []step{{"put", one, true, "", 0, 1}, {"delete", "", true, "", 2, 3}}, false},
		{"gone after it was there", []step{{"put", one, true, "", 0, 1}, {"get", "", false, "", 2, 3}}, false},
		{"gone after it was seen", []step{{"put", one, true, "", 0, 9}, {"get", "", false, one, 1, 2}, {"get", "", false, "", 3, 4}}, false},
		{"something else than was created", []step{{"put", one, true, "", 0, 1}, {"get", "", false, two, 2, 3}}, false},
		{"something else is told to who is refused", []step{{"put", one, true, "", 0, 1}, {"put", two, false, digest.FromString("three"), 2, 3}}, false},
		{"there before anybody created it", []step{{"get", "", false, one, 0, 1}, {"put", one, true, "", 2, 3}}, false},
		{"refused before anybody created it", []step{{"put", two, false, one, 0, 1}, {"put", one, true, "", 2, 3}}, false},
		{"refused though it is the same", []step{{"put", one, true, "", 0, 1}, {"put", one, false, one, 2, 3}}, false},
		{"refused though it is the same, without saying so", []step{{"put", one, true, "", 0, 1}, {"put", one, false, "", 2, 3}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var c Creators
			for i, s := range row.steps {
				c.Add(i, TagCall{s.op, "v1", s.put}, TagAnswer{s.ok, s.tag}, s.before, s.after)
			}
			if err := c.Check(); (err == nil) != row.want {
				t.Errorf("got %v", err)
			}
		})
	}
}
