package artifacts

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

var (
	errDeep   = errors.New("it is nested too deeply")
	errEnough = errors.New("there are more rows")
)

// tokens reads JSON token by token. Its methods consume one value each. A value of another type
// than is asked for is passed over.
type tokens struct {
	decoder *json.Decoder
	depth   int
}

func newTokens(r io.Reader) *tokens {
	decoder := json.NewDecoder(r)
	decoder.UseNumber()
	return &tokens{decoder: decoder}
}

// next returns the next token, and counts how deep it is. The decoder remembers a word for each
// level, so a document of brackets would take eight times its size.
func (t *tokens) next() (json.Token, error) {
	token, err := t.decoder.Token()
	switch token {
	case json.Delim('{'), json.Delim('['):
		if t.depth++; t.depth > maxDepth {
			return nil, errDeep
		}
	case json.Delim('}'), json.Delim(']'):
		t.depth--
	}
	return token, err
}

// object calls member with each name of an object; it must consume the value.
func (t *tokens) object(member func(name string) error) error {
	return t.textOr(func(string) {}, member)
}

// textOr calls text with a text, or member with each name of an object.
func (t *tokens) textOr(text func(string), member func(name string) error) error {
	token, err := t.next()
	if s, is := token.(string); is && err == nil {
		text(clip(s))
		return nil
	}
	if err != nil || token != json.Delim('{') {
		return errors.Join(err, t.leave(token))
	}
	return t.rest(func() error {
		name, err := t.next()
		if err != nil {
			return err
		}
		return member(name.(string)) // the decoder has checked it
	})
}

// array calls element for each element of an array; it must consume it.
func (t *tokens) array(element func() error) error {
	token, err := t.next()
	if err != nil || token != json.Delim('[') {
		return errors.Join(err, t.leave(token))
	}
	return t.rest(element)
}

// rest calls each until the end of an object or array, and consumes that.
func (t *tokens) rest(each func() error) error {
	for t.decoder.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err := t.next()
	return err
}

// text returns a string, a number or a boolean, of at most MaxText bytes; of another value "".
func (t *tokens) text() (string, error) {
	s, err := t.long()
	return clip(s), err
}

// long returns a text that may be as long as the document.
func (t *tokens) long() (string, error) {
	token, err := t.next()
	switch value := token.(type) {
	case string:
		return value, err
	case json.Number:
		return value.String(), err
	case bool:
		return map[bool]string{true: "true", false: "false"}[value], err
	}
	return "", errors.Join(err, t.leave(token))
}

// first returns a text, or the first that is not empty of an array of texts.
func (t *tokens) first() (text string, err error) {
	token, err := t.next()
	if err != nil || token != json.Delim('[') {
		text, _ = token.(string)
		return clip(text), errors.Join(err, t.leave(token))
	}
	err = t.rest(func() error {
		value, err := t.text()
		if text == "" {
			text = value
		}
		return err
	})
	return text, err
}

// skip passes over a value.
func (t *tokens) skip() error {
	token, err := t.next()
	return errors.Join(err, t.leave(token))
}

// leave passes over the rest of a value that begins with token.
func (t *tokens) leave(token json.Token) error {
	if token != json.Delim('{') && token != json.Delim('[') {
		return nil
	}
	for outside := t.depth - 1; t.depth > outside; {
		if _, err := t.next(); err != nil {
			return err
		}
	}
	return nil
}

// clip cuts a text, and takes out what is not UTF-8.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), MaxText)], "")
}
