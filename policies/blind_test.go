package policies

import (
	"strings"
	"testing"
)

func TestBlindRules(t *testing.T) {
	for _, row := range []struct {
		name  string
		rules []string
		blind int // how many of them
	}{
		{"read and create", []string{"allow group ci read create on a/**"}, 0},
		{"create alone", []string{"allow group ci create on a/**"}, 1},
		{"everybody reads", []string{"allow anonymous read", "allow group ci create"}, 0},
		{"everybody who is known reads", []string{"allow signed_in read", "allow group ci create update"}, 0},
		{"they read by another rule", []string{"allow group ci read on a/*", "allow group ci create on a/**"}, 0},
		{"they read elsewhere", []string{"allow anonymous read on b/**", "allow group ci create on a/**"}, 1},
		{"others read", []string{"allow group readers read", "allow group ci create", "allow user ada create"}, 2},
		{"those who are known read what strangers make", []string{"allow signed_in read", "allow anonymous create"}, 1},
		{"a refusal gives no right", []string{"deny group ci read", "allow group ci create"}, 1},
		{"everything", []string{"allow group admins *"}, 0},
	} {
		var rules []Rule
		for _, text := range row.rules {
			words := strings.Fields(text)
			rule, err := ParseRule(words[0] == "deny", words[1:])
			if err != nil {
				t.Fatal(err)
			}
			rules = append(rules, rule)
		}
		if got := Blind(rules); len(got) != row.blind {
			t.Errorf("%s: got %v, want %d rules", row.name, got, row.blind)
		}
	}
}
