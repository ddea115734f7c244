package server

import (
	"bytes"
	"os"
)

// Said counts how often the server has logged a text, since its start.
func (s *Server) Said(text string) (int, error) {
	data, err := os.ReadFile(s.logFile)
	return bytes.Count(data, []byte(text)), err
}
