// Package console reports errors and warnings of commands on the standard error, in
// plain sentences, even if that is not a terminal. Caddy's own logger would write JSON
// with a Unix time there. A command that has the flag --json, and was given it,
// reports its error as JSON.
//
//	error: there is no storage: stat data: no such file or directory
//	warning: no rule names the group "admin"; did you mean admins?
//
// An error ends a command with an exit status, by way of Caddy's main function:
//
//	return console.Fail(cmd, 1, err)
package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// errFailed is the error that Caddy's main function gets for one that was already
// reported.
var errFailed = errors.New("the command failed")

// Fail reports an error and ends a command with an exit status, which is not 0. A nil
// err is reported already.
func Fail(cmd *cobra.Command, status int, err error) error {
	if err != nil {
		report(cmd, err)
	}
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	if status == 1 {
		return errFailed
	}
	// Caddy keeps the error that carries a status to itself, and gives it out only by
	// this way. It logs no error that it is not given.
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })(cmd, nil)
}

func report(cmd *cobra.Command, err error) {
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		encoder := json.NewEncoder(cmd.ErrOrStderr())
		encoder.SetEscapeHTML(false)
		if encoder.Encode(map[string]string{"error": err.Error()}) == nil {
			return
		}
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "error:", err)
}

// Warn reports what may be a mistake, and does not end the command.
func Warn(cmd *cobra.Command, text string) {
	fmt.Fprintln(cmd.ErrOrStderr(), "warning:", text)
}

// Logger writes what Caddy's libraries log, from warnings on, as plain lines.
func Logger(w io.Writer) *zap.Logger {
	words := map[zapcore.Level]string{zapcore.WarnLevel: "warning:"}
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		MessageKey: "msg", LevelKey: "level", ConsoleSeparator: " ",
		EncodeLevel: func(level zapcore.Level, to zapcore.PrimitiveArrayEncoder) {
			word, ok := words[level]
			if !ok {
				word = "error:"
			}
			to.AppendString(word)
		},
	}), zapcore.AddSync(w), zapcore.WarnLevel))
}
