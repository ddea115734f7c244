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

// asksFirst is the end of the help of a command that asks for confirmation.
const asksFirst = `

On a terminal the command shows what is affected and asks, unless --yes is given.
Elsewhere, as in a script, it does not ask.`

// maxAnswer bounds the length of an answer, in bytes.
const maxAnswer = 100

// errNo reports an answer other than yes.
var errNo = errors.New("nothing was changed")

// yesFlag adds the flag --yes.
func yesFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().BoolP("yes", "y", false, "do not ask")
}

// asksOnTerminal reports whether a person can answer. The question goes to the standard error,
// because a program may read the standard output.
func asksOnTerminal(cmd *cobra.Command, yes bool) bool {
	return !yes && isTerminal(cmd.InOrStdin()) && isTerminal(cmd.ErrOrStderr())
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// ask asks a question. If the answer is not yes, it ends the command and returns an error.
func ask(cmd *cobra.Command, question string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), maxAnswer)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr()) // the answer had no newline
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
