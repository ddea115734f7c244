package record

import (
	"bytes"
	"errors"
	"testing"
)

type value struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"`
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	want := value{"ädä\n", []string{"a", "b"}}
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	var got value
	if err := Decode(data, &got); err != nil || got.Name != want.Name || len(got.Groups) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	got = value{}
	if err := Decode([]byte(`{"name":"old"}`), &got); err != nil || got.Name != "old" {
		t.Errorf("a record without a checksum: got %+v, %v", got, err)
	}
}

// Whichever single bit is flipped and wherever a record is cut, it is reported as
// damaged, or reads as before.
func TestDamageIsNoticed(t *testing.T) {
	data, err := Encode(value{"revoked", []string{"admins"}})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, damaged []byte) {
		t.Helper()
		var got value
		if err := Decode(damaged, &got); err == nil {
			if again, _ := Encode(got); !bytes.Equal(again, data) {
				t.Errorf("%s: %q reads as %+v", what, damaged, got)
			}
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for i := range data {
		check("cut", data[:i])
		check("more", append(append(bytes.Clone(data[:i]), data[i]), data[i:]...))
		for bit := range 8 {
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << bit
			check("flipped", flipped)
		}
	}
	check("zeroes", make([]byte, len(data)))
	check("half of it zeroes", append(bytes.Clone(data[:20]), make([]byte, len(data)-20)...))
	check("appended", append(bytes.Clone(data), 'x'))
}
