package store

// Distrust makes the store scan its bucket for lists, as after an unclean stop.
func Distrust(s *Store) { s.index.Distrust() }
