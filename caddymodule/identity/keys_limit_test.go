package identity

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// A user has at most so many valid keys, also if others make them, and if many are made at once.
func TestValidKeysOfAUserAreBounded(t *testing.T) {
	m := start(t)
	m.Keys().SetMaxKeys(5)
	try := func(want NewKey) (Key, error) {
		_, key, err := m.Keys().Create(t.Context(), want)
		return key, err
	}
	ada := NewKey{User: "ada", By: "ada"}
	var all sync.WaitGroup
	var mu sync.Mutex
	var made []Key
	for range 20 {
		all.Go(func() {
			key, err := try(ada)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, key)
			} else if !errors.Is(err, ErrTooManyKeys) || !strings.Contains(err.Error(), "ada has 5, and may have 5; revoke one") {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if len(made) != 5 {
		t.Fatalf("%d keys were made at once, want 5", len(made))
	}
	for _, other := range []NewKey{{User: "ada", Service: true, By: "command"}, {User: "eve", By: "eve"}, {User: "Ada", By: "Ada"}} {
		if _, err := try(other); err != nil {
			t.Errorf("%+v: %v", other, err)
		}
	}
	// A key that makers narrow, label or call local is one as well.
	for _, same := range []NewKey{{User: "ada", Local: true}, {User: "ada", Name: "x", Actions: []string{"read"}}, {User: "ada", Lifetime: time.Second}} {
		if _, err := try(same); !errors.Is(err, ErrTooManyKeys) {
			t.Errorf("%+v: got %v", same, err)
		}
	}
	if _, err := m.Keys().Revoke(t.Context(), made[0].ID); err != nil {
		t.Fatal(err)
	}
	short := ada
	short.Lifetime = time.Minute
	if _, err := try(short); err != nil {
		t.Errorf("after one was revoked: %v", err)
	}
	m.restart()
	m.Keys().SetMaxKeys(5)
	if _, err := try(ada); !errors.Is(err, ErrTooManyKeys) {
		t.Errorf("after a restart: got %v", err)
	}
	m.clock.advance(time.Minute)
	if _, err := try(ada); err != nil {
		t.Errorf("after one has expired: %v", err)
	}
	m.Keys().SetMaxKeys(0)
	for range DefaultMaxKeys - 5 {
		if _, err := try(ada); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := try(ada); !errors.Is(err, ErrTooManyKeys) {
		t.Errorf("beyond the default: got %v", err)
	}
}

// Dead keys are remembered for those who still use them, and not without end.
func TestDeadKeysAreBounded(t *testing.T) {
	m := start(t)
	var secrets []string
	for i := range maxDead + 10 {
		secret, key := m.makeKey(NewKey{User: "ada", Name: fmt.Sprint(i), By: "ada"})
		secrets = append(secrets, secret)
		m.clock.advance(time.Second)
		if _, err := m.Keys().Revoke(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
	}
	live, _ := m.makeKey(robot)
	m.makeKey(NewKey{User: "ada", By: "ada"})
	for range 2 {
		if got := len(m.Keys().List("ada")); got != maxDead+1 {
			t.Errorf("%d keys are kept, want %d dead ones and one", got, maxDead)
		}
		for i, secret := range secrets {
			_, err := m.KeyIdentity(secret, nil)
			if refused := new(KeyRefused); errors.As(err, &refused) != (i >= 10) || !errors.Is(err, ErrCredential) {
				t.Errorf("dead key %d: got %v", i, err)
			}
		}
		if _, err := m.KeyIdentity(live, nil); err != nil {
			t.Error(err)
		}
		m.restart()
	}
}
