package caddymodule_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/eblume/caddy-registry/caddymodule/identity"
	"github.com/eblume/caddy-registry/caddymodule/registrytest"
)

// terminal returns both ends of a terminal: the side of the person, and that of a program.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// onTerminal runs a command on a terminal, at which somebody has typed an answer, and
// returns what is shown there, and the exit status.
func onTerminal(t *testing.T, answer string, args ...string) (string, int) {
	t.Helper()
	person, program := terminal(t)
	if _, err := person.WriteString(answer); err != nil {
		t.Fatal(err)
	}
	// The last bytes of a program are lost if Linux sees first that the program is gone.
	const end = '\x00'
	ended := make(chan int, 1)
	go func() {
		status := registrytest.Execute(t.Context(), program, program, program, args...)
		program.Write([]byte{end})
		ended <- status
	}()
	shown, err := bufio.NewReader(person).ReadString(end)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(shown, string(end)), <-ended
}

func TestCommandsAskOnATerminal(t *testing.T) {
	dir := t.TempDir()
	registrytest.Serve(t, registrytest.FreePort(t), dir, localPolicy+"local_user erich "+registrytest.PasswordHash()+
		" admins", "")
	store := registrytest.Callers(t).Identity
	disabled := func() bool { erich, _ := store.Users().Get("erich"); return erich.Disabled }
	_, key, err := store.Keys().Create(t.Context(), identity.NewKey{User: "erich", Local: true, Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	active := func() bool { return len(store.Keys().Active("erich")) == 1 }
	disable, revoke := []string{"user", "disable", "erich", "--storage", dir},
		[]string{"key", "revoke", key.ID, "--storage", dir}

	for _, row := range []struct {
		name, answer string
		args         []string
		done         bool
		shown        []string
	}{
		{"no", "n\n", disable, false,
			[]string{"Disable erich?", key.ID, "laptop", "is the last administrator who can sign in",
				"nothing was changed"}},
		{"nothing", "\n", disable, false, []string{"nothing was changed"}},
		{"the end of the input", "\x04", disable, false, []string{"nothing was changed"}},
		{"a long answer", strings.Repeat("y", 200) + "\n", disable, false, []string{"nothing was changed"}},
		{"yes", "y\n", disable, true, []string{"Disable erich?", "disabled erich"}},
		{"no question", "", append(disable, "--yes"), true, []string{"disabled erich"}},
		{"no to a key", "no\n", revoke, false, []string{"Revoke this key?", key.ID, "laptop", "nothing was changed"}},
		{"a key that is not there", "y\n", []string{"key", "revoke", "000000000000", "--storage", dir}, false,
			[]string{"no such key"}},
		{"yes to a key", "YES\n", revoke, true, []string{"Revoke this key?", "revoked key " + key.ID}},
	} {
		t.Run(row.name, func(t *testing.T) {
			shown, status := onTerminal(t, row.answer, row.args...)
			if (status == registrytest.Done) != row.done || !row.done && status != registrytest.Failed {
				t.Errorf("got status %d: %s", status, shown)
			}
			for _, want := range row.shown {
				if !strings.Contains(shown, want) {
					t.Errorf("the terminal does not show %q: %s", want, shown)
				}
			}
			if asked := strings.Contains(shown, "[y/N]"); asked && row.answer == "" {
				t.Errorf("it asks nevertheless: %s", shown)
			}
			isUser := row.args[0] == "user"
			if isUser && disabled() != row.done || !isUser && active() == (row.done && row.args[2] == key.ID) {
				t.Errorf("disabled: %v, active: %v; %s", disabled(), active(), shown)
			}
			if _, err := store.Users().SetDisabled(t.Context(), "erich", false); err != nil {
				t.Fatal(err)
			}
		})
	}
	// Without a terminal nobody is asked, and the end of the input does not count as an answer.
	if out, told, status := registrytest.Run(t, disable...); status != registrytest.Done || !disabled() ||
		strings.Contains(told, "[y/N]") {
		t.Errorf("without a terminal: got status %d, %s%s", status, out, told)
	}
}
