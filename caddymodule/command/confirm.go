package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eblume/caddy-registry/caddymodule/console"
)

// asksFirst is the end of the help of a command that asks.
const asksFirst = `

On a terminal the command shows what is hit and asks, unless --yes is given.
Elsewhere, as in a script, it does not ask.`

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 100

// errNo is an answer other than yes.
var errNo = errors.New("nothing was changed")

// yesFlag adds the flag --yes.
func yesFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().BoolP("yes", "y", false, "do not ask")
}

// asksOnTerminal reports whether somebody is there to be asked: the question goes to the
// standard error, because the standard output may be read by a program.
func asksOnTerminal(cmd *cobra.Command, yes bool) bool {
	return !yes && isTerminal(cmd.InOrStdin()) && isTerminal(cmd.ErrOrStderr())
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// ask puts a question. Its error has ended the command: the answer was not yes.
func ask(cmd *cobra.Command, question string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), maxAnswer)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr()) // the answer did not end the line
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return finish(cmd, statusFailed, errNo)
}

// warn prints a warning, if there is one.
func warn(cmd *cobra.Command, warning string) {
	if warning != "" {
		console.Warn(cmd, warning)
	}
}
