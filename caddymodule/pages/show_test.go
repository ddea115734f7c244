package pages

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/caddymodule/design"

	"github.com/eblume/caddy-registry/core"
)

func TestSizesAndTimesAsPeopleSayThem(t *testing.T) {
	for n, want := range map[int64]string{-1: "–", 0: "0 B", 999: "999 B", 1000: "1.00 kB", 9_999: "10.0 kB", 61_400_000: "61.4 MB",
		999_499_999: "999 MB", 999_500_000: "1.00 GB", 3_100_000_000: "3.10 GB", 1 << 62: "4612 PB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d): got %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1204: "1,204", 1_000_000: "1,000,000"} {
		if got := count(n); got != want {
			t.Errorf("count(%d): got %q, want %q", n, got, want)
		}
	}
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for before, want := range map[time.Duration]string{0: "just now", time.Minute: "1 minute ago", 119 * time.Minute: "1 hour ago",
		25 * time.Hour: "yesterday", 6 * 24 * time.Hour: "6 days ago", 7 * 24 * time.Hour: "2026-11-23", -time.Hour: "2026-11-30"} {
		if got := design.Ago(now, now.Add(-before)); got != want {
			t.Errorf("%s ago: got %q, want %q", before, got, want)
		}
	}
}

func TestTextsAreSafe(t *testing.T) {
	for text, want := range map[string]string{
		"plain":        "plain",
		`<a b="c">&'`:  "&lt;a b=&#34;c&#34;&gt;&amp;&#39;",
		"\u202eexe":    `<span class="esc">\u202e</span>exe`,
		"\x00\x1b\xff": `<span class="esc">\u0000</span><span class="esc">\u001b</span><span class="esc">\xff</span>`,
		"\ufffd":       "\ufffd",
		"日本 ü":         "日本 ü",
		"a\nb":         `a<span class="esc">\u000a</span>b`,
		"\U000e0041":   `<span class="esc">\U000e0041</span>`,
	} {
		if got := string(line(text)); got != "<bdi>"+want+"</bdi>" {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := string(safe("a\nb\tc", 100, true)); got != "<bdi>a\nb\tc</bdi>" {
		t.Errorf("got %q", got)
	}
	for _, most := range []int{20, 21, 50, 100, 1000} {
		got := string(safe(strings.Repeat("\u202e<é", 1000), most, false))
		if len(got) > most || !strings.HasSuffix(got, "…</bdi>") || strings.Count(got, "<span") != strings.Count(got, "</span>") {
			t.Errorf("at most %d: got %d bytes: %s", most, len(got), got)
		}
	}
}

func TestRawTextsAreWhole(t *testing.T) {
	data := []byte(`{"a":"` + strings.Repeat("<\u202e\u00e9", 200) + `"}`)
	for most := 20; most < 1500; most++ {
		got := string(rawText(data, most))
		if len(got) > most || strings.Count(got, "<span") != strings.Count(got, "</span>") ||
			strings.Count(got, "<bdi>") != strings.Count(got, "</bdi>") || strings.ToValidUTF8(got, "?") != got {
			t.Fatalf("at most %d: got %d bytes: %s", most, len(got), got)
		}
	}
	if got := string(rawText([]byte(`{"a":1}`), 100)); got != "<bdi>{\n  \"a\": 1\n}</bdi>" {
		t.Errorf("got %q", got)
	}
}

func TestLinksOfImages(t *testing.T) {
	for text, want := range map[string]string{
		"https://a.example/b/":          `<a href="https://a.example/b/" rel="noreferrer nofollow"><bdi>a.example/b</bdi></a>`,
		"http://a.example":              `<a href="http://a.example" rel="noreferrer nofollow"><bdi>a.example</bdi></a>`,
		"javascript:alert(1)":           "<bdi>javascript:alert(1)</bdi>",
		"https://good.example@evil.com": "<bdi>https://good.example@evil.com</bdi>",
		"git@a.example:b.git":           "<bdi>git@a.example:b.git</bdi>",
		"//a.example":                   "<bdi>//a.example</bdi>",
	} {
		if got := string(link(text)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestRevisionsAreLinkedToTheirForge(t *testing.T) {
	const rev = "1a2b3c4d5e"
	for source, want := range map[string]string{
		"https://forge.example/ada/app":       "https://forge.example/ada/app/commit/" + rev,
		"https://github.com/ada/app.git":      "https://github.com/ada/app/commit/" + rev,
		"https://git.example/forge/ada/app/":  "https://git.example/forge/ada/app/commit/" + rev,
		"https://forge.example/ada":           "",
		"https://forge.example/ada/app?a=b":   "",
		"javascript:alert(1)//x/y":            "",
		"https://good.example@evil.com/ada/x": "",
		"git@forge.example:ada/app":           "",
		"":                                    "",
	} {
		if got := commit(source, rev); got != want {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
	for _, revision := range []string{"", "main", "../../x", "1a2b3c", "1A2B3C4D"} {
		if got := commit("https://forge.example/ada/app", revision); got != "" {
			t.Errorf("%q: got %q", revision, got)
		}
	}
}

func TestHistoryIsReadAsADockerfile(t *testing.T) {
	for text, want := range map[string]string{
		`/bin/sh -c #(nop)  CMD ["bash"]`:                `CMD|["bash"]`,
		`/bin/sh -c #(nop) ADD file:ab in / `:            "ADD|file:ab in /",
		`/bin/sh -c apt-get update`:                      "RUN|apt-get update",
		`|2 A=b C=d /bin/sh -c make $A`:                  "RUN|make $A",
		`RUN /bin/sh -c apk add curl # buildkit`:         "RUN|apk add curl",
		`RUN |1 V=1 /bin/sh -c echo $V # buildkit`:       "RUN|echo $V",
		`RUN /bin/bash -euo pipefail -c make # buildkit`: "RUN|/bin/bash -euo pipefail -c make",
		`COPY /a /b # buildkit`:                          "COPY|/a /b",
		`EXPOSE map[80/tcp:{} 443/tcp:{}]`:               "EXPOSE|80/tcp 443/tcp",
		`bazel build ...`:                                "|bazel build ...",
		`# debian.sh --arch 'amd64' out/ 'bookworm'`:     "|# debian.sh --arch 'amd64' out/ 'bookworm'",
		`RUNNER`: "|RUNNER",
		"":       "|why",
		`cmd /S /C powershell -Command Write-Host`: "RUN|powershell -Command Write-Host",
	} {
		keyword, rest := dockerfile(step{CreatedBy: text, Comment: "why"})
		if got := keyword + "|" + rest; got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestLayersAreDrawnAsWideAsTheyAre(t *testing.T) {
	drawn, colors := drawLayers([]int64{100, 0, 300, 1, 599})
	if got := fmt.Sprint(colors); got != "[2 0 5 0 1]" {
		t.Errorf("got colours %s", got)
	}
	var at []string
	for _, p := range drawn.Parts {
		at = append(at, p.X+"+"+p.Width)
	}
	if got := strings.Join(at, " "); got != "0.00+9.80 10.00+29.80 40.00+59.70 99.90+0.10" {
		t.Errorf("got %s", got)
	}
	if drawn.Words != "5 layers of 1.00 kB in all; the largest: 599 B, 300 B, 100 B, 1 B" {
		t.Errorf("got %q", drawn.Words)
	}
	if drawn, _ := drawLayers([]int64{0, -1}); drawn.Parts != nil {
		t.Errorf("nothing is drawn as %v", drawn)
	}
}

func TestPullsOfDaysAreDrawn(t *testing.T) {
	now := time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)
	days := []core.DayPulls{{Day: "2026-10-31", N: 7}, {Day: "2026-11-01", N: 1}, {Day: "2026-11-16", N: 50}, {Day: "2026-11-17", N: 2}, {Day: "2026-11-30", N: 4}}
	for n, want := range map[int]int64{1: 4, 13: 4, 14: 6, 15: 56, 30: 57, 31: 64} {
		if got := pullsSince(days, now, n); got != want {
			t.Errorf("%d days: got %d, want %d", n, got, want)
		}
	}
	drawn := sparkOf(days, now)
	if !strings.HasPrefix(drawn.Points, "2.0,13.0 9.1,24.0 ") || !strings.HasSuffix(drawn.Points, " 94.0,2.0") ||
		strings.Count(drawn.Points, ",") != 14 || drawn.Words != "6 pulls in 14 days" {
		t.Errorf("got %+v", drawn)
	}
	if drawn := sparkOf(days[:3], now); drawn != (spark{}) {
		t.Errorf("no pull is drawn as %+v", drawn)
	}
}
