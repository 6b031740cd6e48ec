package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/localports"
)

func TestDemoFlags(t *testing.T) {
	t.Parallel()
	c, err := parseDemo(nil, io.Discard)
	if err != nil || c != (demoConfig{port: 8081}) {
		t.Errorf("without flags: %+v, %v", c, err)
	}
	c, err = parseDemo([]string{"--once", "--data-dir", "d", "--port", "65533"}, io.Discard)
	if err != nil || c != (demoConfig{once: true, dataDir: "d", port: 65533}) {
		t.Errorf("with flags: %+v, %v", c, err)
	}
	for _, args := range [][]string{{"--port", "0"}, {"--port", "65534"}, {"--port", "x"}, {"--twice"}, {"more"}} {
		_, err := parseDemo(args, io.Discard)
		var said bytes.Buffer
		if code := exitCode(err, &said); code != 2 || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%v: exit code %d, %q", args, code, said.String())
		}
	}
}

// threePorts reserves a base for --port.
func threePorts(t *testing.T) int {
	t.Helper()
	block, err := localports.Block(demoReplicas)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(block.Release)
	return block.Ports()[0]
}

func TestTakenPortIsNamed(t *testing.T) {
	t.Parallel()
	base := threePorts(t)
	l, err := net.Listen("tcp", loopback(base+1))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = occupy(demoConfig{port: base, dataDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d of 127.0.0.1 is taken", base+1)) || !strings.Contains(err.Error(), "--port") {
		t.Errorf("error %v", err)
	}
}

func TestFolderThatCannotBeWrittenIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := occupy(demoConfig{port: threePorts(t), dataDir: filepath.Join(file, "data")})
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("error %v", err)
	}
}

func TestFolderKeepsItsPorts(t *testing.T) {
	t.Parallel()
	cfg := demoConfig{port: threePorts(t), dataDir: t.TempDir()}
	first, err := occupy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := occupy(cfg); err == nil || !strings.Contains(err.Error(), "another demo") {
		t.Errorf("a second demo in the same folder: %v", err)
	}
	first.vacate(false)
	second, err := occupy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.vacate(false)
	if fmt.Sprint(first.private) != fmt.Sprint(second.private) {
		t.Errorf("private ports %v at first, then %v", first.private, second.private)
	}
}

func TestTemporaryFolderIsKeptOnlyAfterAnError(t *testing.T) {
	t.Parallel()
	for _, wrong := range []bool{false, true} {
		p, err := occupy(demoConfig{port: threePorts(t)})
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		p.leave(newScreen(&said), wrong)
		_, err = os.Stat(p.dir)
		if kept := err == nil; kept != wrong || strings.Contains(said.String(), p.dir) != wrong {
			t.Errorf("something wrong: %t; kept %t, said %q", wrong, kept, said.String())
		}
		_ = os.RemoveAll(p.dir)
	}
}

func TestLeadershipChangesAreShown(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var shown []string
	l := leadership{changed: func(old, now leader, gap time.Duration) {
		shown = append(shown, fmt.Sprintf("%s %s %d %s", old.pod, now.pod, now.epoch, gap))
	}}
	a, b := leader{"a", 3, at(0)}, leader{"b", 4, at(900)}
	l.seen(a, at(10))
	l.seen(a, at(100))
	l.seen(b, at(950))
	l.seen(a, at(960)) // one that has not noticed yet
	l.seen(leader{"b", 5, at(1000)}, at(1020))
	want := []string{"a b 4 800ms", "b b 5 50ms"}
	if fmt.Sprint(shown) != fmt.Sprint(want) || l.get().epoch != 5 {
		t.Errorf("shown %q, want %q; leader %+v", shown, want, l.get())
	}
}

func TestOutputFitsATerminal(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := newScreen(&b)
	statuses := []replicaStatus{
		{name: "leasehold-0", url: "http://127.0.0.1:28081", pid: 4194304},
		{name: "leasehold-1", url: "http://127.0.0.1:28082", pid: 4194304, epoch: 1000},
		{name: "leasehold-2", url: "http://127.0.0.1:28083", pid: 4194304},
	}
	now := time.Now()
	o := outcome{
		old: leader{"leasehold-1", 999, now}, new: leader{"leasehold-0", 1000, now},
		start: now, killed: now.Add(2 * time.Second), end: now.Add(7 * time.Second),
	}
	for i := range 1400 {
		o.acks = append(o.acks, now.Add(time.Duration(i)*5*time.Millisecond))
	}
	s.replicas(statuses)
	s.invite(statuses)
	s.failover("leasehold-1")
	s.killing(o.old, 4194304)
	s.ended("leasehold-1", "signal: killed")
	s.changed(o.old, o.new, 910*time.Millisecond)
	s.restarted("leasehold-1", 4194304)
	s.caughtUp("leasehold-1")
	s.report(o)
	s.standing(statuses)
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("colors in what is not a terminal")
	}
}

// demoProcess is a demo that runs.
type demoProcess struct {
	*exec.Cmd
	mu     sync.Mutex
	said   bytes.Buffer
	waited chan struct{}
}

func (d *demoProcess) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.Write(p)
}

func (d *demoProcess) output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said.String()
}

func startDemo(t *testing.T, binary string, args ...string) *demoProcess {
	t.Helper()
	d := &demoProcess{Cmd: exec.Command(binary, append([]string{"demo"}, args...)...), waited: make(chan struct{})}
	d.Stdout, d.Stderr = d, d
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.Wait() // the state says more
		close(d.waited)
	}()
	t.Cleanup(func() { _ = d.Process.Kill() })
	return d
}

// says waits until the demo has printed something that matches.
func (d *demoProcess) says(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(t, func() error {
		if said := d.output(); !re.MatchString(said) {
			return fmt.Errorf("%q is not in %s", pattern, said)
		}
		return nil
	})
}

// exits waits for the end, and that no replica is left of those that the demo has named.
func (d *demoProcess) exits(t *testing.T, code int) {
	t.Helper()
	select {
	case <-d.waited:
	case <-time.After(2 * time.Minute):
		t.Fatalf("the demo goes on:\n%s", d.output())
	}
	if got := d.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d:\n%s", got, code, d.output())
	}
	eventually(t, func() error {
		for _, pid := range d.pids() {
			if runs(pid) {
				return fmt.Errorf("the replica with PID %d outlives the demo", pid)
			}
		}
		return nil
	})
}

var pidPattern = regexp.MustCompile(`(?m)^  leasehold-\d +(\d+)|PID (\d+)$`)

func (d *demoProcess) pids() (pids []int) {
	for _, match := range pidPattern.FindAllStringSubmatch(d.output(), -1) {
		pid, _ := strconv.Atoi(match[1] + match[2])
		pids = append(pids, pid)
	}
	return pids
}

// runs tells whether a process does; one that only waits for its exit code to be read does not.
func runs(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil || p.Signal(syscall.Signal(0)) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !bytes.Contains(stat, []byte(") Z "))
}

func TestDemo(t *testing.T) {
	skipShort(t)
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	folder := t.TempDir()
	port := threePorts(t)
	in := []string{"--port", strconv.Itoa(port), "--data-dir", folder}

	t.Run("once", func(t *testing.T) {
		d := startDemo(t, binary, append(in, "--once")...)
		d.exits(t, 0)
		if !regexp.MustCompile(`\nacknowledged [1-9]\d+, failed 0, lost 0\n$`).MatchString(d.output()) {
			t.Errorf("the last line is wrong:\n%s", d.output())
		}
		if n := len(d.pids()); n != demoReplicas+1 {
			t.Errorf("%d PIDs named, want three and that of the restart:\n%s", n, d.output())
		}
	})
	t.Run("stays up with the old data", func(t *testing.T) {
		d := startDemo(t, binary, in...)
		d.says(t, `stay up until Ctrl-C[\s\S]*kill -9`)
		before := len(d.pids())
		kill(t, d.pids()[before-1])
		d.says(t, `stay up until Ctrl-C[\s\S]*has ended \(signal: killed\)[\s\S]*is started again, PID \d+\n[\s\S]*has caught up`)
		if err := d.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		d.exits(t, 0)
		if said := d.output(); !strings.HasSuffix(said, folder+"\n") || strings.Contains(said, "epoch 1\n") {
			t.Errorf("it does not say where the data is, or does not go on with it:\n%s", said)
		}
	})
	t.Run("killed demo leaves no replica", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("only Linux ends a process with the one that started it")
		}
		d := startDemo(t, binary, in...)
		d.says(t, `leads, epoch`)
		if err := d.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		d.exits(t, -1)
	})
	t.Run("taken port", func(t *testing.T) {
		var l net.Listener
		eventually(t, func() (err error) { // the last thread of a replica that was killed may hold it for a moment
			l, err = net.Listen("tcp", loopback(port+2))
			return err
		})
		defer l.Close()
		d := startDemo(t, binary, append(in, "--once")...)
		d.exits(t, 1)
		want := fmt.Sprintf("server: port %d of 127.0.0.1 is taken; stop what uses it, or choose three other ports with --port\n", port+2)
		if d.output() != want {
			t.Errorf("it says %q, want %q", d.output(), want)
		}
	})
	t.Run("replica that does not come up", func(t *testing.T) {
		broken := t.TempDir()
		if err := os.WriteFile(filepath.Join(broken, replicaName(1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		d := startDemo(t, binary, "--once", "--port", strconv.Itoa(port), "--data-dir", broken)
		d.exits(t, 1)
		if !regexp.MustCompile(`server: leasehold-1 ended \(exit status 1\) before the cluster had come up; its log, .*, ends with:\n.*not a directory`).MatchString(d.output()) {
			t.Errorf("it says %q", d.output())
		}
	})
}

// kill is what a person does by hand to a replica that the demo has named.
func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}
