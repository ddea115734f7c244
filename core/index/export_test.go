package index

// RowsRead returns how many rows were read, of all indexes.
func RowsRead() uint64 { return rowsRead.Load() }
