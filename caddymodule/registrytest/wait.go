package registrytest

import (
	"testing"
	"time"
)

// Patience bounds every wait. It is long because the machine may be busy.
const Patience = time.Minute

// Eventually waits until a condition holds. After Patience it ends the test.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
