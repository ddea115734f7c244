package pulls

const MaxRemembered = maxRemembered

// Remembered is what t has in memory.
func Remembered(t *Times) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remembered
}
