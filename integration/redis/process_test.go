package redis

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eblume/caddy-registry/integration/server"
)

// redisServer is a process on its own port: a server, a sentinel, or a node of a cluster.
type redisServer struct {
	port     int
	cmd      *exec.Cmd
	password string
	tls      *tls.Config
}

// startRedis starts one without TLS. args are further options, as of redis.conf.
func startRedis(t *testing.T, port int, args ...string) *redisServer {
	t.Helper()
	r := &redisServer{port: port}
	r.start(t, append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...))
	return r
}

// start runs it, and returns when it answers.
func (r *redisServer) start(t *testing.T, args []string) {
	t.Helper()
	r.cmd = exec.Command(server.Tool(t, "redis-server"), args...)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	r.eventually(t, "PING", func(answer string) bool { return answer == "+PONG" })
}

func (r *redisServer) kill() {
	r.cmd.Process.Kill() // also one that is stopped
	r.cmd.Wait()
}

func (r *redisServer) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// option is the line of a Caddyfile.
func (r *redisServer) option() string { return "address " + r.address() }

// send sends one line, and returns the answer: a line or a text. It is empty if the server does
// not listen yet.
func (r *redisServer) send(line string) (string, error) {
	var c net.Conn
	c, err := net.DialTimeout("tcp", r.address(), patience)
	if err != nil {
		return "", nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if r.tls != nil {
		c = tls.Client(c, r.tls)
	}
	answers := bufio.NewReader(c)
	if r.password != "" {
		if _, err := say(c, answers, "AUTH "+r.password); err != nil {
			return "", err
		}
	}
	return say(c, answers, line)
}

func say(c io.Writer, answers *bufio.Reader, line string) (string, error) {
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return "", err
	}
	answer, err := answers.ReadString('\n')
	if size, ok := strings.CutPrefix(strings.TrimSpace(answer), "$"); ok && err == nil {
		n, err := strconv.Atoi(size)
		if err != nil || n < 0 {
			return "", err
		}
		text := make([]byte, n)
		_, err = io.ReadFull(answers, text)
		return string(text), err
	}
	return strings.TrimSpace(answer), err
}

func (r *redisServer) must(t *testing.T, line string) string {
	t.Helper()
	answer, err := r.send(line)
	if err != nil || strings.HasPrefix(answer, "-") {
		t.Fatalf("redis: %s: %q, %v", line, answer, err)
	}
	return answer
}

// eventually sends a line until the answer is as it should be.
func (r *redisServer) eventually(t *testing.T, line string, so func(answer string) bool) {
	t.Helper()
	var last string
	err := server.Eventually(patience, func() (bool, error) {
		answer, err := r.send(line)
		last = fmt.Sprintf("%q, %v", answer, err)
		return err == nil && so(answer), nil
	})
	if err != nil {
		t.Fatalf("redis: %s: %v: the last answer was %s", line, err, last)
	}
}
