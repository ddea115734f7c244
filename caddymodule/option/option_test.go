package option

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

type settings struct {
	Text, Second, Size, Secret string
	List, Many                 []string
	Flag                       bool
	Time, Word                 caddy.Duration
	Number                     int
	Inner                      string
}

// read reads a block with an option of each kind.
func read(text string) (settings, error) {
	var s settings
	d := caddyfile.NewTestDispenser(text)
	d.Next() // the block's name
	err := Block(d, "test", Options{
		"text":   Once(&s.Text),
		"pair":   Once(&s.Text, &s.Second),
		"list":   List(&s.List),
		"many":   List(&s.Many).Repeated(),
		"flag":   Flag(&s.Flag),
		"time":   Duration(&s.Time),
		"word":   Duration(&s.Word, "keep"),
		"size":   Size(&s.Size),
		"number": Number(&s.Number, 2),
		"secret": Secret(&s.Secret),
		"inner": Func(func(d *caddyfile.Dispenser) error {
			return Block(d, "inner", Options{"text": Once(&s.Inner)})
		}),
		"none": Func(func(d *caddyfile.Dispenser) error { return Block(d, "none", nil) }),
	})
	return s, err
}

func TestBlockReads(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       settings
	}{
		{"no block", "test", settings{}},
		{"an empty block", "test {\n}", settings{}},
		{"one argument", "test {\ntext a\n}", settings{Text: "a"}},
		{"two arguments", "test {\npair a b\n}", settings{Text: "a", Second: "b"}},
		{"a list", "test {\nlist a b\n}", settings{List: []string{"a", "b"}}},
		{"a repeated list", "test {\nmany a\nmany b c\n}", settings{Many: []string{"a", "b", "c"}}},
		{"a flag", "test {\nflag\n}", settings{Flag: true}},
		{"times", "test {\ntime 2d\nword keep\n}", settings{Time: caddy.Duration(48 * time.Hour)}},
		{"a time where a word may be", "test {\nword 1s\n}", settings{Word: caddy.Duration(time.Second)}},
		{"a size, a number and a secret", "test {\nsize 64MiB\nnumber 2\nsecret {env.A}\n}", settings{Size: "64MiB", Number: 2, Secret: "{env.A}"}},
		{"a block within", "test {\ninner {\ntext b\n}\ntext a\n}", settings{Text: "a", Inner: "b"}},
	} {
		if got, err := read(row.text); err != nil || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: got %+v, %v, want %+v", row.name, got, err, row.want)
		}
	}
}

func TestBlockRefuses(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"an argument of the block", "test x {\n}", ":1"},
		{"an unknown option", "test {\ntexts a\n}", `unknown option "texts" of test; it has flag, inner, list`},
		{"an option in a block without any", "test {\nnone {\ntext a\n}\n}", `unknown option "text" of none, which has none`},
		{"a duplicate", "test {\ntext a\nflag\ntext a\n}", "duplicate option text, at Testfile:4"},
		{"a duplicate after a word", "test {\nword keep\nword 1d\n}", "duplicate option word, at Testfile:3"},
		{"a duplicate flag", "test {\nflag\nflag\n}", "duplicate option flag, at Testfile:3"},
		{"a duplicate block", "test {\ninner {\ntext a\n}\ninner {\n}\n}", "duplicate option inner, at Testfile:5"},
		{"a duplicate within a block", "test {\ninner {\ntext a\ntext b\n}\n}", "duplicate option text, at Testfile:4"},
		{"a block behind a line", "test {\ntext a {\nlist b\n}\n}", "option text is one line"},
		{"too few arguments", "test {\npair a\n}", "Testfile:2"},
		{"too many arguments", "test {\ntext a b\n}", "Testfile:2"},
		{"an empty list", "test {\nlist\n}", "Testfile:2"},
		{"a flag with an argument", "test {\nflag off\n}", "Testfile:2"},
		{"an invalid time", "test {\ntime soon\n}", "time: "},
		{"an empty time", "test {\ntime 0s\n}", "time: must be positive, at Testfile:2"},
		{"a negative time", "test {\nword -1s\n}", "word: must be positive"},
		{"a word that is another's", "test {\ntime keep\n}", "time: "},
		{"an invalid size", "test {\nsize much\n}", `size: "much" is not a size`},
		{"an empty size", "test {\nsize 0\n}", `size: "0" is not a size`},
		{"a size beyond all", "test {\nsize 16EiB\n}", `size: "16EiB" is not a size`},
		{"a number that is too small", "test {\nnumber 1\n}", "number: \"1\" is not a number of at least 2"},
		{"an invalid number", "test {\nnumber many\n}", "number: "},
		{"a secret in the open", "test {\nsecret hunter2\n}", "secret: the secret must be a placeholder"},
	} {
		_, err := read(row.text)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q in it", row.name, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}
