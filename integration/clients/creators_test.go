package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/eblume/caddy-registry/core/coretest"
	"github.com/eblume/caddy-registry/integration/client"
)

// creatorNumber makes the test binary one of the clients of the test below.
const creatorNumber = "CLIENTS_TEST_CREATOR"

func TestMain(m *testing.M) {
	if number := os.Getenv(creatorNumber); number != "" {
		if err := playCreator(number); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// creatorsRepo is where creators push, and creatorsBase where they mount from.
const creatorsRepo, creatorsBase = "team/created", "team/base"

// creatorCall is a client process's report of a call on one tag.
type creatorCall struct {
	Call   coretest.TagCall   `json:"call"`
	Answer coretest.TagAnswer `json:"answer"`
	Before int64              `json:"before"`
	After  int64              `json:"after"`
}

// No sequence of calls of processes that may create, each with every way to set a tag,
// changes what an existing tag names.
func TestCreatorsChangeNoTag(t *testing.T) {
	const processes, rounds = 6, 25
	r, _ := guarded(t)
	secret, _ := r.Key(t, "zot-ci", "artifact-workloads")
	c := client.New(r.URL).Login("zot-ci", secret)
	defer c.Close()
	for repo, blobs := range map[string][]string{creatorsRepo: {"{}"}, creatorsBase: {"{}", "layer"}} {
		for _, blob := range blobs {
			if _, err := c.PushBlob(t.Context(), repo, []byte(blob)); err != nil {
				t.Fatal(err)
			}
		}
	}
	type process struct {
		cmd    *exec.Cmd
		in     io.WriteCloser
		out    *bufio.Scanner
		errors bytes.Buffer
	}
	running := make([]*process, processes)
	for i := range running {
		p := &process{cmd: exec.CommandContext(t.Context(), os.Args[0])}
		p.cmd.Env = append(os.Environ(), creatorNumber+"="+strconv.Itoa(i), "CREATOR_URL="+r.URL, "CREATOR_SECRET="+secret)
		p.cmd.Stderr = &p.errors
		in, err := p.cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		p.in, p.out = in, bufio.NewScanner(out)
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running[i] = p
	}
	var history coretest.Creators
	for round := range rounds {
		for _, p := range running { // they begin together, as closely as a pipe allows
			if _, err := fmt.Fprintf(p.in, "r%d-a r%d-b\n", round, round); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range running {
			for {
				if !p.out.Scan() {
					t.Fatalf("client %d ended: %v: %s", i, p.cmd.Wait(), p.errors.Bytes())
				}
				if p.out.Text() == "" {
					break
				}
				var call creatorCall
				if err := json.Unmarshal(p.out.Bytes(), &call); err != nil {
					t.Fatalf("client %d: %v: %s", i, err, p.out.Text())
				}
				history.Add(i, call.Call, call.Answer, call.Before, call.After)
			}
		}
	}
	for i, p := range running {
		p.in.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("client %d: %v: %s", i, err, p.errors.Bytes())
		}
	}
	if n := history.Count(); n < processes*rounds {
		t.Fatalf("only %d calls were made", n)
	}
	if err := history.Check(); err != nil {
		t.Error(err)
	}
}

// player is one client process.
type player struct {
	*client.Client
	number string
	serial int
	rng    *rand.Rand
	out    *json.Encoder
}

// playCreator makes calls on the tags of each line that it reads, and prints the results: lines
// of creatorCall, and an empty one.
func playCreator(number string) error {
	seed, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return err
	}
	c := client.New(os.Getenv("CREATOR_URL")).Login("zot-ci", os.Getenv("CREATOR_SECRET"))
	p := &player{c, number, 0, rand.New(rand.NewPCG(2, seed)), json.NewEncoder(os.Stdout)}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := p.play(strings.Fields(lines.Text())); err != nil {
			return err
		}
		fmt.Println()
	}
	return nil
}

func (p *player) play(tags []string) error {
	tag := tags[p.rng.IntN(len(tags))]
	var err error
	switch p.rng.IntN(6) {
	case 0:
		err = p.put(p.image(), tag, nil)
	case 1: // several ?tag=
		p.rng.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
		err = p.put(p.image(), "", tags)
	case 2: // mount
		mount := "/v2/" + creatorsRepo + "/blobs/uploads/?from=" + creatorsBase + "&mount=" + digest.FromString("layer").String()
		if _, _, err = p.ask(http.MethodPost, mount, "", nil, http.StatusCreated); err == nil {
			err = p.put(p.image("layer"), tag, nil)
		}
	case 3: // index push
		image := p.image()
		if err = p.put(image, digest.FromBytes(image).String(), nil); err == nil {
			err = p.put(encoded(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
				{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(image), Size: int64(len(image))},
			}}), tag, nil)
		}
	case 4: // delete and push again
		if err = p.delete(tag); err == nil {
			err = p.put(p.image(), tag, nil)
		}
	case 5: // the same digest again
		var held []byte
		if held, err = p.get(tag); err == nil && held != nil {
			err = p.put(held, tag, nil)
		}
	}
	if err != nil {
		return err
	}
	_, err = p.get(tag)
	return err
}

func encoded(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return data
}

// image returns a manifest that was never pushed.
func (p *player) image(layers ...string) []byte {
	p.serial++
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config:      ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 2},
		Layers:      []ocispec.Descriptor{},
		Annotations: map[string]string{"creator": p.number + " " + strconv.Itoa(p.serial)},
	}
	for _, layer := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(layer), Size: int64(len(layer))})
	}
	return encoded(m)
}

// ask makes one request and checks that its answer has one of the statuses.
func (p *player) ask(method, path, mediaType string, body []byte, want ...int) (*http.Response, []byte, error) {
	header := http.Header{}
	if mediaType != "" {
		header.Set("Content-Type", mediaType)
	}
	response, err := p.Request(context.Background(), method, path, header, bytes.NewReader(body), want[0])
	var other *client.StatusError
	switch {
	case errors.As(err, &other) && slices.Contains(want, other.Status):
		return &http.Response{StatusCode: other.Status}, []byte(other.Body), nil
	case err != nil:
		return nil, nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response, data, err
}

// tell prints a call on one tag.
func (p *player) tell(call coretest.TagCall, answer coretest.TagAnswer, before, after int64) error {
	return p.out.Encode(creatorCall{call, answer, before, after})
}

// put pushes a manifest by a tag or digest, or by its digest with tags beside it.
func (p *player) put(data []byte, ref string, tags []string) error {
	mediaType := ocispec.MediaTypeImageManifest
	if bytes.Contains(data, []byte(ocispec.MediaTypeImageIndex)) {
		mediaType = ocispec.MediaTypeImageIndex
	}
	d := digest.FromBytes(data)
	path := "/v2/" + creatorsRepo + "/manifests/" + ref
	switch {
	case tags != nil:
		path += d.String() + "?tag=" + strings.Join(tags, "&tag=")
	case !strings.Contains(ref, ":"):
		tags = []string{ref}
	}
	before := now()
	response, body, err := p.ask(http.MethodPut, path, mediaType, data, http.StatusCreated, http.StatusForbidden)
	after := now()
	if err != nil {
		return err
	}
	accepted := tags
	switch {
	case response.StatusCode == http.StatusForbidden:
		accepted = nil
	case len(tags) > 1:
		accepted = strings.Split(response.Header.Get("OCI-Tag"), ", ")
	}
	var refused struct {
		Errors []struct {
			Detail struct {
				Tag    string        `json:"tag"`
				Digest digest.Digest `json:"digest"`
				Since  string        `json:"since"`
			} `json:"detail"`
		} `json:"errors"`
	}
	if response.StatusCode == http.StatusForbidden {
		if err := json.Unmarshal(body, &refused); err != nil {
			return fmt.Errorf("%w: %s", err, body)
		}
		if one := refused.Errors[0].Detail; one.Tag == "" || one.Digest == "" || one.Since == "" {
			return fmt.Errorf("the refusal does not have the tag, its digest and its time: %s", body)
		}
	}
	for _, tag := range tags {
		answer := coretest.TagAnswer{OK: slices.Contains(accepted, tag)}
		if len(refused.Errors) > 0 && refused.Errors[0].Detail.Tag == tag {
			answer.Digest = refused.Errors[0].Detail.Digest
		}
		if err := p.tell(coretest.TagCall{Op: "put", Tag: tag, Digest: d}, answer, before, after); err != nil {
			return err
		}
	}
	return nil
}

// delete tries to remove a tag.
func (p *player) delete(tag string) error {
	before := now()
	response, _, err := p.ask(http.MethodDelete, "/v2/"+creatorsRepo+"/manifests/"+tag, "", nil, http.StatusForbidden, http.StatusAccepted)
	if err != nil {
		return err
	}
	return p.tell(coretest.TagCall{Op: "delete", Tag: tag}, coretest.TagAnswer{OK: response.StatusCode == http.StatusAccepted}, before, now())
}

// get returns the manifest of a tag, or nil.
func (p *player) get(tag string) ([]byte, error) {
	before := now()
	response, data, err := p.ask(http.MethodGet, "/v2/"+creatorsRepo+"/manifests/"+tag, "", nil, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	answer := coretest.TagAnswer{}
	if response.StatusCode == http.StatusOK {
		answer.Digest = digest.FromBytes(data)
	} else {
		data = nil
	}
	return data, p.tell(coretest.TagCall{Op: "get", Tag: tag}, answer, before, now())
}

// now is the one clock of all processes of the machine that never steps.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock is always there
	}
	return ts.Nano()
}
