package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

const (
	provenanceFile = "provenance.json"
	sumsFile       = "SHA256SUMS"
)

// notes writes the changelog's entry for the version, or the unreleased entry.
func (s *source) notes(output string) error {
	text, err := os.ReadFile(filepath.Join(s.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	entry, err := entryOf(string(text), strings.TrimPrefix(s.version, "v"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(output, "NOTES.md"), []byte(entry), 0o644)
}

var heading = regexp.MustCompile(`(?m)^## \[([^\]]+)\].*\n`)

// entryOf returns the text below the heading of a version. A version that is not released yet
// has that below "Unreleased".
func entryOf(changelog, version string) (string, error) {
	if strings.Contains(version, "-") {
		version = "Unreleased"
	}
	found := heading.FindAllStringSubmatchIndex(changelog, -1)
	for i, at := range found {
		if changelog[at[2]:at[3]] != version {
			continue
		}
		end := len(changelog)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		return strings.TrimSpace(changelog[at[1]:end]) + "\n", nil
	}
	return "", fmt.Errorf("CHANGELOG.md has no entry %q; write one before the release", version)
}

// digest of a file, as in a statement of in-toto.
type digest struct {
	SHA256 string `json:"sha256,omitempty"`
	Commit string `json:"gitCommit,omitempty"`
}

// subject is a file or a source with its digest.
type subject struct {
	Name   string `json:"name,omitempty"`
	URI    string `json:"uri,omitempty"`
	Digest digest `json:"digest"`
}

// statement is a statement of in-toto (in-toto.io/Statement/v1) with a provenance of SLSA
// (slsa.dev/provenance/v1). It has no time and is not signed.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     struct {
		Definition struct {
			Type         string            `json:"buildType"`
			Parameters   map[string]string `json:"externalParameters"`
			Internal     map[string]string `json:"internalParameters"`
			Dependencies []subject         `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		Run struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

// sum writes the provenance of all files in output, and then the checksums of all.
func (s *source) sum(output string) error {
	files, err := sumsOf(output)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("there are no files")
	}
	p := statement{Type: "https://in-toto.io/Statement/v1", Subject: files, PredicateType: "https://slsa.dev/provenance/v1"}
	p.Predicate.Definition.Type = "https://" + modulePath + "/tree/main/integration/release"
	p.Predicate.Definition.Parameters = map[string]string{"version": s.version}
	p.Predicate.Definition.Internal = map[string]string{"go": runtime.Version()}
	p.Predicate.Definition.Dependencies = []subject{{URI: "git+https://" + modulePath, Digest: digest{Commit: s.commit}}}
	p.Predicate.Run.Builder.ID = p.Predicate.Definition.Type
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(output, provenanceFile), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if files, err = sumsOf(output); err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, one := range files {
		fmt.Fprintf(&lines, "%s  %s\n", one.Digest.SHA256, one.Name)
	}
	return os.WriteFile(filepath.Join(output, sumsFile), lines.Bytes(), 0o644)
}

// sumsOf returns the files in a directory in the order of their names.
func sumsOf(dir string) ([]subject, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []subject
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		files = append(files, subject{Name: entry.Name(), Digest: digest{SHA256: hex.EncodeToString(sum[:])}})
	}
	return files, nil
}
