package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// connections is the number of clients that request small answers at the same time.
const connections = 16

var (
	wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkFailures = regexp.MustCompile(`(?m)^.*(?:Non-2xx or 3xx responses|Socket errors).*$`)
)

// asked is a contender that answers one GET, as often as wrk can send it in a turn. It sends
// one request before, and fails if the answer is not want. fields are additional header fields,
// as `Name: value`.
func (b *bench) asked(name string, s *server, path, accept string, want []byte, fields ...string) (contender, error) {
	if err := s.process.answers(b.ctx, s.url()+path); err != nil {
		return contender{}, err
	}
	if _, _, err := getAs(s.url()+path, accept, want, fields...); err != nil {
		return contender{}, fmt.Errorf("%s: %w", name, err)
	}
	args := []string{"-t1", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(b.size.seconds) + "s", "-H", "Accept: " + accept}
	for _, field := range fields {
		args = append(args, "-H", field)
	}
	return contender{name, func() (sample, error) {
		return timed(s.process, func() (float64, error) {
			cmd := exec.CommandContext(b.ctx, b.wrk, append(args[:len(args):len(args)], s.url()+path)...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return 0, fmt.Errorf("wrk: %w: %s", err, out)
			}
			if failed := wrkFailures.Find(out); failed != nil {
				return 0, fmt.Errorf("wrk: %s", failed)
			}
			count := wrkRequests.FindSubmatch(out)
			if count == nil {
				return 0, fmt.Errorf("wrk printed no number of requests: %s", out)
			}
			return strconv.ParseFloat(string(count[1]), 64)
		})
	}}, nil
}

// get sends one request and returns the answer's header. Errors: unless status 200 with the
// body want; a want of nil is not compared.
func get(url, accept string, want []byte) (http.Header, error) {
	header, _, err := getAs(url, accept, want)
	return header, err
}

// getAs is get with further fields, as `Name: value`, and returns the body too.
func getAs(url, accept string, want []byte, fields ...string) (http.Header, []byte, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", accept)
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, err
	}
	if response.StatusCode != http.StatusOK || want != nil && !bytes.Equal(body, want) {
		return nil, nil, fmt.Errorf("GET %s: %s, %d bytes that are not the %d expected: %.200s", url, response.Status, len(body), len(want), body)
	}
	return response.Header, body, nil
}
