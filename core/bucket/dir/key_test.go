package dir

import (
	"strings"
	"testing"
)

func TestEncodeName(t *testing.T) {
	tests := map[string]struct{ name, file string }{
		"lower case stays as it is":        {"v1.0_a-b+c=d@e:f", "v1.0_a-b+c=d@e:f"},
		"one capital at the front":         {"Latest", "latest^8"},
		"capitals at the end":              {"latesT", "latest^04"},
		"all capitals":                     {"ABCDE", "abcde^f8"},
		"a capital in the second four":     {"abcdE", "abcde^08"},
		"capitals among digits":            {"1A2B", "1a2b^5"},
		"the longest tag, in capitals":     {strings.Repeat("Z", 128), strings.Repeat("z", 128) + "^" + strings.Repeat("f", 32)},
		"the longest tag, its last letter": {strings.Repeat("z", 127) + "Z", strings.Repeat("z", 128) + "^" + strings.Repeat("0", 31) + "1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := encodeName(tt.name); got != tt.file || len(got) > maxName {
				t.Errorf("encode: got %q, want %q", got, tt.file)
			}
			if got, ok := decodeName(tt.file); !ok || got != tt.name {
				t.Errorf("decode: got %q, %v, want %q", got, ok, tt.name)
			}
		})
	}
}

func TestDecodeNameRefusesForeignFiles(t *testing.T) {
	for what, file := range map[string]string{
		"a raw capital":          ".DS_Store",
		"an empty bitmap":        "latest^",
		"a bitmap of none":       "latest^0",
		"a zero at its end":      "latest^80",
		"a capital digit":        "1^8",
		"a bit past the end":     "ab^1",
		"a bitmap past the end":  "ab^08",
		"a bitmap in capitals":   "abcd^F",
		"not a bitmap":           "ab^x",
		"two marks":              "ab^8^8",
		"a byte that no key has": "a b",
		"nothing before it":      "^8",
		"nothing":                "",
	} {
		if name, ok := decodeName(file); ok {
			t.Errorf("%s: %q is decoded as %q", what, file, name)
		}
	}
}

// FuzzKey checks that a key and its path lead to each other, that paths of keys
// which differ only in case differ in more, and that nothing leaves the directory.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a/B/c", "repos/x/_tags/V1", "../a", "a//b", ".A./..b", "a^1/b,c"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		path, err := encodeKey(key)
		if err != nil {
			return
		}
		if path != strings.ToLower(path) {
			t.Errorf("%q: path %q has capitals", key, path)
		}
		if strings.HasPrefix(path, "/") || strings.Contains("/"+path+"/", "/../") || strings.Contains("/"+path+"/", "/./") {
			t.Errorf("%q: path %q leaves the directory", key, path)
		}
		if name, ok := pendingName(path); ok {
			if got, ok := pendingKey(name); !ok || got != key {
				t.Errorf("%q: got %q, %v from the name in pending/ %q", key, got, ok, name)
			}
		}
	})
}
