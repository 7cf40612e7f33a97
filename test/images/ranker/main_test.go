package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// TestMain lets the test binary be the server too, so that tests see a real, fresh
// process.
func TestMain(m *testing.M) {
	if os.Getenv("RANKER_TEST_SERVE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a ranker that serves on a loopback port.
type process struct {
	cmd *exec.Cmd
	url string
	log *bufio.Scanner
}

func start(t *testing.T, env ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "RANKER_TEST_SERVE=1", "PORT=0"), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // an ended process: no matter
	p := &process{cmd: cmd, log: bufio.NewScanner(stderr)}
	_, port, err := net.SplitHostPort(p.waitForLog(t, "serving").Address)
	if err != nil {
		t.Fatal(err)
	}
	p.url = "http://127.0.0.1:" + port
	return p
}

type logLine struct{ Msg, Error, Address string }

func (p *process) waitForLog(t *testing.T, message string) logLine {
	t.Helper()
	for p.log.Scan() {
		var line logLine
		if err := json.Unmarshal(p.log.Bytes(), &line); err != nil {
			t.Fatalf("log line %q: %v", p.log.Text(), err)
		}
		if line.Msg == message {
			return line
		}
	}
	t.Fatalf("the process ended without logging %q", message)
	return logLine{}
}

// terminate sends SIGTERM and waits for a clean end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// infer sends a request and returns how long the answer took, and its Server-Timing.
func (p *process) infer(t *testing.T, body []byte) (took time.Duration, timing string) {
	t.Helper()
	begin := time.Now()
	resp, err := http.Post(p.url+"/v2/models/ranker/infer", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, error %v: %s", resp.StatusCode, err, answer)
	}
	return time.Since(begin), resp.Header.Get("Server-Timing")
}

// cpu is the processor time that the process has used; Linux counts it in ticks of 10 ms.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc here:", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss is the process's resident memory and its highest so far, as the kernel prints them.
func (p *process) rss(t *testing.T) (now, highest string) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc here:", err)
	}
	field := func(name string) string {
		match := regexp.MustCompile(name + `:\s+(\d+ kB)`).FindSubmatch(status)
		if match == nil {
			return "unknown"
		}
		return string(match[1])
	}
	return field("VmRSS"), field("VmHWM")
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestFirstRequests prints by how much the first request of a fresh process is
// slower than the later ones, and what a request costs. It asserts no time.
func TestFirstRequests(t *testing.T) {
	const requests = 400
	table := new(bytes.Buffer)
	w := tabwriter.NewWriter(table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tfirst\tsecond\tmedian\tp99\tfirst/median\tCPU a request\tRSS\thighest RSS\t")
	for _, name := range []string{"request.json", "batch.json"} {
		p := start(t)
		body := read(t, name)
		first, timing := p.infer(t, body)
		second, _ := p.infer(t, body)
		used := p.cpu(t)
		var later []time.Duration
		for range requests {
			took, _ := p.infer(t, body)
			later = append(later, took)
		}
		used = (p.cpu(t) - used) / requests
		slices.Sort(later)
		median, p99 := later[requests/2], later[requests*99/100]
		now, highest := p.rss(t)
		fmt.Fprintf(w, "%s\t%.1f ms\t%.1f ms\t%.2f ms\t%.1f ms\t%.1f×\t%.2f ms\t%s\t%s\t\n", name, ms(first), ms(second),
			ms(median), ms(p99), float64(first)/float64(median), ms(used), now, highest)
		t.Logf("%s: the first request's Server-Timing: %s", name, timing)
		p.terminate(t)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("fresh processes, %d steady requests each:\n%s", requests, table)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A request whose body is still on its way at SIGTERM gets its answer.
func TestDrain(t *testing.T) {
	p := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := read(t, "request.json")
	reader := bufio.NewReader(conn)
	fmt.Fprintf(conn, "POST /v2/models/ranker/infer HTTP/1.1\r\nHost: ranker\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	// The server says "100 Continue" once the handler reads the body.
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, error %v, want 100 Continue", line, err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.waitForLog(t, "draining")
	if _, err := conn.Write(body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, want 200", resp.StatusCode)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after the drain: %v", err)
	}
}

// A request with the header that is named ends the process, others don't.
func TestCrash(t *testing.T) {
	p := start(t, "RANKER_CRASH_ON=Crash")
	body := read(t, "request.json")
	p.infer(t, body)
	request, err := http.NewRequest(http.MethodPost, p.url+"/v2/models/ranker/infer", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Crash", "now")
	if answer, err := http.DefaultClient.Do(request); err == nil {
		answer.Body.Close()
		t.Errorf("answered by %s", answer.Status)
	}
	var ended *exec.ExitError
	if err := p.cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != crashed {
		t.Errorf("ended with %v, want exit code %d", err, crashed)
	}
}

func TestLoadsForAWhile(t *testing.T) {
	const least = 300 * time.Millisecond
	began := time.Now()
	p := start(t, "RANKER_LOAD="+least.String())
	if took := time.Since(began); took < least {
		t.Errorf("listens after %v", took)
	}
	p.infer(t, read(t, "request.json"))
}

func TestBadEnvironment(t *testing.T) {
	for _, env := range []string{"PORT=http", "PORT=-1", "RANKER_CONCURRENCY=0", "RANKER_CONCURRENCY=many", "RANKER_INITIALIZE=2", "RANKER_SETTLE=-1s", "RANKER_LOAD=soon"} {
		t.Run(env, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "RANKER_TEST_SERVE=1", env)
			output, err := cmd.CombinedOutput()
			name, _, _ := strings.Cut(env, "=")
			if err == nil || !strings.Contains(string(output), name+": got ") {
				t.Errorf("error %v, output %s", err, output)
			}
		})
	}
}
