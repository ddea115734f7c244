package core

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// The grammar as spec.md prints it, anchored.
var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func TestParseName(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		valid    bool
	}{
		{"one component", "nginx", true},
		{"several components", "docker.io/library/nginx", true},
		{"every separator", "a.b_c__d-e---f", true},
		{"255 bytes", strings.Repeat("a", 255), true},
		{"256 bytes", strings.Repeat("a", 256), false},
		{"empty", "", false},
		{"upper case", "Nginx", false},
		{"a component that begins with an underscore", "a/_tags", false},
		{"three underscores", "a___b", false},
		{"two dots", "a..b", false},
		{"a component of dots", "a/../b", false},
		{"a slash at the end", "a/", false},
		{"a slash at the beginning", "/a", false},
		{"two slashes", "a//b", false},
		{"a separator at the end", "a-", false},
		{"a port", "localhost:5000/a", false},
		{"a null byte", "a\x00", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseName(tt.in)
			if (err == nil) != tt.valid {
				t.Fatalf("ParseName(%q): %v, want valid %t", tt.in, err, tt.valid)
			}
			if tt.valid && got != tt.in {
				t.Errorf("got %q, want %q", got, tt.in)
			}
			if !tt.valid && !errors.Is(err, ErrNameInvalid) {
				t.Errorf("got %v, want ErrNameInvalid", err)
			}
		})
	}
}

func TestParseReference(t *testing.T) {
	sha256 := "sha256:" + strings.Repeat("a", 64)
	sha512 := "sha512:" + strings.Repeat("0", 128)
	for _, tt := range []struct {
		name, in string
		want     Reference
		err      error
	}{
		{"a tag", "v1.0_rc-1", Reference{Tag: "v1.0_rc-1"}, nil},
		{"a tag in capitals", "LATEST", Reference{Tag: "LATEST"}, nil},
		{"a tag of 128 characters", strings.Repeat("a", 128), Reference{Tag: strings.Repeat("a", 128)}, nil},
		{"a tag of 129 characters", strings.Repeat("a", 129), Reference{}, ErrTagInvalid},
		{"an empty tag", "", Reference{}, ErrTagInvalid},
		{"a tag that begins with a dot", ".a", Reference{}, ErrTagInvalid},
		{"a tag with a slash", "a/b", Reference{}, ErrTagInvalid},
		{"sha256", sha256, Reference{Digest: digest.Digest(sha256)}, nil},
		{"sha512", sha512, Reference{Digest: digest.Digest(sha512)}, nil},
		{"a digest in capitals", strings.ToUpper(sha256[7:]) + ":", Reference{}, ErrDigestInvalid},
		{"hex in capitals", "sha256:" + strings.Repeat("A", 64), Reference{}, ErrDigestInvalid},
		{"a digest that is short", sha256[:70], Reference{}, ErrDigestInvalid},
		{"an algorithm that is not supported", "sha384:" + strings.Repeat("a", 96), Reference{}, ErrDigestInvalid},
		{"no algorithm", ":" + strings.Repeat("a", 64), Reference{}, ErrDigestInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseReference(tt.in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %v, %v, want %v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// FuzzReference holds the scanners equal to the grammars that they replace.
func FuzzReference(f *testing.F) {
	for _, s := range []string{
		"a", "a/b", "a__b", "a___b", "a-.b", "a--b/c", "A", "_a", "", "a.", "é",
		"sha256:" + strings.Repeat("a", 64), "sha512:" + strings.Repeat("f", 128), "sha256:", "sha384:" + strings.Repeat("a", 96),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := ParseName(s)
		if want := len(s) <= MaxNameLength && namePattern.MatchString(s); (err == nil) != want {
			t.Errorf("ParseName(%q): %v, want valid %t", s, err, want)
		}
		_, err = ParseTag(s)
		if want := tagPattern.MatchString(s); (err == nil) != want {
			t.Errorf("ParseTag(%q): %v, want valid %t", s, err, want)
		}
		_, err = ParseDigest(s)
		if want := digest.Digest(s).Validate() == nil && Supported(digest.Digest(s).Algorithm()); (err == nil) != want {
			t.Errorf("ParseDigest(%q): %v, want valid %t", s, err, want)
		}
	})
}
