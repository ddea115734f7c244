package store

import "github.com/opencontainers/go-digest"

// Distrust makes the store scan its bucket for lists, as after an unclean stop.
func Distrust(s *Store) { s.names.Distrust() }

// Touched returns the number of remembered entries of the grace.
func Touched(s *Store) int { return s.grace.size() }

// MaxTouched bounds it.
const MaxTouched = maxTouched

// Touch restarts a grace.
func Touch(s *Store, repo string, d digest.Digest) { s.grace.touch(s.now(), repo, d) }

// Indexed reports whether lists come from the index.
func Indexed(s *Store) bool { return s.names.Ready() }

// Unindex has the index lose a tag, as a write of it that failed would.
func Unindex(s *Store, repo, tag string) error { return s.names.DeleteTag(repo, tag) }
