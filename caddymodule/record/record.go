// Package record writes small JSON records so that damage is noticed: a flipped bit in
// the name of a member would otherwise bring a revoked key back to life, and one in a
// group make an administrator.
//
// A record is its JSON, a newline, and the CRC-32C of the JSON in hexadecimal digits:
//
//	{"id":"3f9c2a01b4d5","user":"zot-ci"}
//	9ae0daaf
//
// The checksum is against accidents. An attacker who can write to the storage can
// write keys.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrDamaged is a record that is not as it was written.
var ErrDamaged = errors.New("the record is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the record of a value.
func Encode(value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(data, "\n%08x", crc32.Checksum(data, castagnoli)), nil
}

// Decode reads a record into value. A record of JSON alone is one that was written
// before there was a checksum, and is believed if it can be read. Errors: ErrDamaged.
func Decode(data []byte, value any) error {
	text, sum, checked := bytes.Cut(data, []byte("\n"))
	if checked && string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) {
		return fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}
