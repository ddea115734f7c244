// Package option reads the blocks of the Caddyfile. A block is a table from the names of
// its options to their readers:
//
//	option.Block(d, "gc", option.Options{
//		"interval": option.Duration(&g.Interval),
//		"untagged": option.Duration(&g.Untagged, "keep"),
//	})
//
// Every block refuses, with the line: an option that it does not have, a duplicate
// option (unless the table says Repeated), a wrong number of arguments, and a block
// behind an option that has none. So a typing mistake never passes as a default.
//
// What several blocks have is read here, too: placeholders for secrets, certificates, and
// addresses to which secrets are sent.
//
// It knows Caddy's dispenser and nothing of the registry.
package option

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// Options has an Option for each name that a block may have.
type Options map[string]Option

// Option reads the arguments of one option, and its block if it has one. The zero value
// reads nothing; make one with the functions below.
type Option struct {
	read     func(d *caddyfile.Dispenser) error
	repeated bool
	checks   []func() error
}

// Repeated returns o as an option that may be there several times.
func (o Option) Repeated() Option {
	o.repeated = true
	return o
}

// Check returns o with a check of what it has read, whose error gets name and line.
func (o Option) Check(check func() error) Option {
	o.checks = append(slices.Clip(o.checks), check)
	return o
}

// Block reads the block that follows, which may be missing. name is for messages.
func Block(d *caddyfile.Dispenser, name string, options Options) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		key := d.Val()
		option, ok := options[key]
		switch {
		case !ok && len(options) == 0:
			return d.Errf("unknown option %q of %s, which has none", key, name)
		case !ok:
			return d.Errf("unknown option %q of %s; it has %s", key, name,
				strings.Join(slices.Sorted(maps.Keys(options)), ", "))
		case seen[key] && !option.repeated:
			return d.Errf("duplicate option %s", key)
		}
		seen[key] = true
		if err := option.read(d); err != nil {
			return err
		}
		for _, check := range option.checks {
			if err := check(); err != nil {
				return d.Errf("%s: %v", key, err)
			}
		}
		if inner := d.Nesting(); d.NextBlock(inner) {
			return d.Errf("option %s is one line and has no block", key)
		}
	}
	return nil
}

// Func reads the arguments, and a block if there is one, by itself.
func Func(read func(d *caddyfile.Dispenser) error) Option { return Option{read: read} }

// Once reads one argument for each of to.
func Once(to ...*string) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(to...) {
			return d.ArgErr()
		}
		return nil
	})
}

// List reads one argument or more, and appends them.
func List(to *[]string) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		*to = append(*to, args...)
		return nil
	})
}

// Flag takes no argument.
func Flag(to *bool) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*to = true
		return nil
	})
}

// value reads one argument with parse, whose errors get the option's name and the line.
func value(parse func(text string) error) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		name, text := d.Val(), ""
		if !d.AllArgs(&text) {
			return d.ArgErr()
		}
		if err := parse(text); err != nil {
			return d.Errf("%s: %v", name, err)
		}
		return nil
	})
}

// Duration reads a positive time, such as 90d, or one of words, which leaves to as it is.
func Duration(to *caddy.Duration, words ...string) Option {
	return value(func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		duration, err := caddy.ParseDuration(text)
		if err == nil && duration <= 0 {
			err = errors.New("must be positive")
		}
		*to = caddy.Duration(duration)
		return err
	})
}

// Size reads a size in bytes, such as 64MiB, and keeps it as it is written.
func Size(to *string) Option {
	return value(func(text string) error {
		*to = text
		_, err := ParseSize(text)
		return err
	})
}

// ParseSize is the number of bytes of a size such as 200GiB, at least one.
func ParseSize(text string) (int64, error) {
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size such as 256MiB", text)
	}
	return int64(size), nil
}

// Number reads a whole number of at least least.
func Number(to *int, least int) Option {
	return value(func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < least {
			return fmt.Errorf("%q is not a number of at least %d", text, least)
		}
		*to = n
		return nil
	})
}

// Secret reads a placeholder for a secret: see CheckSecret.
func Secret(to *string) Option {
	return value(func(text string) error {
		*to = text
		return CheckSecret(text)
	})
}

// errBareSecret is a secret that stands in the configuration, from where the admin
// endpoint and the autosaved file would show it. {$NAME} ends there too.
var errBareSecret = errors.New("the secret must be a placeholder, such as {env.NAME} or {file./run/secrets/name}, so that it is not in the configuration")

// CheckSecret checks how a secret is written, without resolving it. Its error does not
// repeat the secret.
func CheckSecret(text string) error {
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
		return errBareSecret
	}
	return nil
}
