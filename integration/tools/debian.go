package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// policyFile is the program that Debian's packages call to learn whether they may start a
// service.
const policyFile = "/usr/sbin/policy-rc.d"

// installPackages installs the packages that are missing.
func installPackages(packages []string) error {
	var missing []string
	for _, name := range packages {
		if !installed(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this machine lacks %s, and has no apt-get", strings.Join(missing, ", "))
	}
	restore, err := keepServicesDown()
	if err != nil {
		return err
	}
	fmt.Println("installing", strings.Join(missing, " "))
	err = root("apt-get", "update", "-qq")
	if err == nil {
		arguments := []string{"env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "apt-get", "install", "-y", "-qq", "--no-install-recommends"}
		err = root(append(arguments, missing...)...)
	}
	return errors.Join(err, restore())
}

// installed reports whether dpkg has the package unpacked and configured.
func installed(name string) bool {
	out, err := exec.Command("dpkg-query", "--show", "--showformat=${db:Status-Status}", name).Output()
	return err == nil && string(out) == "installed"
}

// keepServicesDown makes the policy answer 101, "do not", until restore is called.
// restore brings an existing policy back, because the machine may be a person's own.
func keepServicesDown() (restore func() error, err error) {
	const policy = "#!/bin/sh\nexit 101\n"
	before, err := os.ReadFile(policyFile)
	switch {
	case err == nil:
		saved, err := temporary(before)
		if err != nil {
			return nil, err
		}
		restore = func() error {
			defer os.Remove(saved)
			return root("install", "-m", "755", saved, policyFile)
		}
	case errors.Is(err, fs.ErrNotExist):
		restore = func() error { return root("rm", "-f", policyFile) }
	default:
		return nil, err
	}
	down, err := temporary([]byte(policy))
	if err != nil {
		return nil, err
	}
	defer os.Remove(down)
	return restore, root("install", "-m", "755", down, policyFile)
}

// temporary writes content to a new file and returns its path.
func temporary(content []byte) (string, error) {
	f, err := os.CreateTemp("", "policy")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	return f.Name(), errors.Join(err, f.Close())
}

// root runs a command as root: directly, or by sudo without a prompt.
func root(command ...string) error {
	if os.Geteuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return nil
}
