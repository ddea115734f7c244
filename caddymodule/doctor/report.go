// Package doctor runs checks of a registry and reports what they found: each is ok, a
// warning, or a failure. What is checked is the caller's affair.
//
//	report := doctor.Examine(ctx, []doctor.Check{{"disk", lookAtDisk}})
//	report.Print(os.Stdout)
//
// The report's JSON is stable: members and levels may be added, and none changes.
//
//	{"ok": true, "summary": {"ok": 12, "warn": 2, "fail": 0},
//	 "findings": [{"check": "disk", "level": "ok", "text": "…"}]}
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// MaxSkew is how far two clocks may be apart: tokens last a minute, and are good from the second
// in which they were made.
const MaxSkew = 30 * time.Second

// Level is how serious a finding is.
type Level string

// The levels. A warning leaves the registry usable as it is configured.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is one thing that a check found.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// Summary counts the findings of each level.
type Summary struct {
	OK   int `json:"ok"`
	Warn int `json:"warn"`
	Fail int `json:"fail"`
}

// String is the summary's line.
func (s Summary) String() string {
	return fmt.Sprintf("%d ok, %d %s, %d %s", s.OK, s.Warn, plural(s.Warn, "warning"), s.Fail, plural(s.Fail, "failure"))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// Report is what the checks found. OK is false if one of them failed; warnings do not count.
type Report struct {
	OK       bool      `json:"ok"`
	Summary  Summary   `json:"summary"`
	Findings []Finding `json:"findings"`
}

// Check is one thing that is examined. Run returns what it found. A Warning as its error
// is a warning, and any other error a failure; its text is then the finding's.
type Check struct {
	Name string
	Run  func(ctx context.Context) (string, error)
}

// Warning is an error for what should be looked at although the registry works.
type Warning string

func (w Warning) Error() string { return string(w) }

// Warnf makes a Warning.
func Warnf(format string, values ...any) error { return Warning(fmt.Sprintf(format, values...)) }

// Examine runs the checks one after the other, so that a report reads as it is configured.
func Examine(ctx context.Context, checks []Check) Report {
	report := Report{OK: true, Findings: []Finding{}}
	for _, c := range checks {
		text, err := c.Run(ctx)
		var warning Warning
		switch {
		case err == nil:
			report.add(Finding{c.Name, OK, text})
		case errors.As(err, &warning):
			report.add(Finding{c.Name, Warn, err.Error()})
		default:
			report.add(Finding{c.Name, Fail, err.Error()})
		}
	}
	return report
}

func (r *Report) add(f Finding) {
	switch f.Level {
	case OK:
		r.Summary.OK++
	case Warn:
		r.Summary.Warn++
	default:
		r.Summary.Fail++
		r.OK = false
	}
	r.Findings = append(r.Findings, f)
}

// Print writes the report for a person: a line for each finding, and the summary.
func (r Report) Print(w io.Writer) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%-4s  %s: %s\n", f.Level, f.Check, f.Text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Summary)
	return err
}
