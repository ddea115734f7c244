package store

// Distrust makes the store scan its bucket for lists, as after an unclean stop.
func Distrust(s *Store) { s.index.Distrust() }

// Indexed tells whether lists come from the index.
func Indexed(s *Store) bool { return s.index.Ready() }
