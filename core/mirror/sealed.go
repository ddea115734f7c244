package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
)

// A record is JSON, and a last line with its CRC-32C in hex. Most damage to JSON is a syntax
// error, but a flipped bit can also produce another tag, another year, or an unknown member.
// Records of earlier versions have no such line. A damaged line end makes the line a part of the
// JSON, which is then an error.

// errSum is returned for a record whose bytes are not those that were written.
var errSum = errors.New("its checksum is another one")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends the checksum to a record.
func seal(record []byte) []byte {
	return fmt.Appendf(record, "\n%08x", crc32.Checksum(record, castagnoli))
}

// unseal returns the record without its checksum. Errors: errSum.
func unseal(data []byte) ([]byte, error) {
	end := bytes.LastIndexByte(data, '\n')
	if end < 0 {
		return data, nil
	}
	record := data[:end]
	if string(data[end+1:]) != fmt.Sprintf("%08x", crc32.Checksum(record, castagnoli)) {
		return nil, errSum
	}
	return record, nil
}
