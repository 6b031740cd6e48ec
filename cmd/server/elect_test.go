package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/leasetest"
	"github.com/leasehold/leasehold/internal/localports"
)

// asServer has this test's program run as the server, with the arguments that the variable holds, with unit separators between them.
const asServer = "LEASEHOLD_TEST_ARGUMENTS"

func TestAsServer(t *testing.T) {
	args, ok := os.LookupEnv(asServer)
	if !ok {
		t.Skip("this is no test, but how other tests run the server")
	}
	os.Args = append([]string{"server"}, strings.Split(args, "\x1f")...)
	main()
}

// electing is a command line that is complete, with more flags after it; the last of a flag counts.
func electing(more ...string) []string {
	return append([]string{"--name", "worker-0", "--namespace", "n", "--leader-elect-resource-name", "l", "--http", "127.0.0.1:0"}, more...)
}

func TestElectFlagsThatAreRight(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		electing(),
		electing("--http", "", "--file", "leader.json"),
		electing("--http", "", "--label"),
		electing("--exec", "sh", "--", "-c", "exit", "--", "x"),
		electing("--exec", "sh", "--"),
		electing("--exec", "sh", "--exec-grace-period", "0s"),
		electing("--name", "worker-7d9f-x2x", "--file", "/run/leader"),
	} {
		if _, err := parseElect(args, io.Discard); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	c, err := parseElect(electing("--exec", "sh", "--", "-c", "exit", "--", "x"), io.Discard)
	if want := []string{"-c", "exit", "--", "x"}; err != nil || !slices.Equal(c.args, want) || c.namespace != "n" || c.grace != 10*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := parseElect(electing("--name", ""), io.Discard); err != nil || c.name == "" {
		t.Errorf("without a name: %+v, %v", c, err)
	}
}

// Every mistake is one sentence, which names the flag, and exit code 2.
func TestElectFlagsThatAreWrong(t *testing.T) {
	t.Parallel()
	const help = `; "server elect --help" lists the flags`
	for _, c := range []struct {
		args []string
		want string
	}{
		{electing("--bogus"), "there is no flag --bogus" + help},
		{electing("more"), `"more" is not a flag` + help},
		{electing("--exec-grace-period", "5"), `--exec-grace-period must be a time with its unit, such as 10s or 500ms, not "5"` + help},
		{electing("--exec-grace-period", "-1s"), "--exec-grace-period is -1s; it must not be negative"},
		{electing("--http", ""), "say what the election is for, with one or more of --http, --file, --exec and --label"},
		{electing("--http", "4040"), `--http is "4040"; it must be HOST:PORT or :PORT`},
		{electing("--file", "/run/"), `--file is "/run/"; it must name a file`},
		{electing("--exec", "no-such-program"), `--exec is "no-such-program", which is no program here`},
		{electing("--", "x"), "what follows after -- are the arguments of a program: name it, with --exec"},
		{electing("--name", "A"), `--name is "A"; it must be a name such as a pod's`},
		{electing("--leader-elect-resource-name", ""), "name the Lease on which the election is held, with --leader-elect-resource-name"},
		{electing("--leader-elect-resource-name", "a/b"), `--leader-elect-resource-name is "a/b"; it must be`},
		{electing("--namespace", ""), "name the namespace of the Lease, with --leader-elect-resource-namespace, --namespace or $POD_NAMESPACE"},
		{electing("--leader-elect-lease-duration", "5s"), "the flags --leader-elect-… do not fit together"},
		{electing("--label", "--name", "worker"), `--label is for the pods of a StatefulSet: --name ("worker") must be`},
	} {
		_, err := parseElect(c.args, io.Discard)
		var said bytes.Buffer
		code := exitCode(err, &said)
		if code != 2 || !strings.HasPrefix(said.String(), "server: "+c.want) || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%q:\nexit code %d, %q\nwant 2, \"server: %s…\"", c.args[len(electing()):], code, said.String(), c.want)
		}
	}
}

func TestInstallCopiesTheProgram(t *testing.T) {
	t.Parallel()
	to := filepath.Join(t.TempDir(), "server")
	if err := run(t.Context(), []string{"install", to}, io.Discard); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("%v, %v", info, err)
	}
	var said bytes.Buffer
	if code := exitCode(run(t.Context(), []string{"install"}, io.Discard), &said); code != 2 || !strings.Contains(said.String(), "say where to") {
		t.Errorf("without a path: exit code %d, %q", code, &said)
	}
}

// electors are processes that elect on a stand-in for the API server.
type electors struct {
	t      *testing.T
	api    *leasetest.Server
	config string // the file for $KUBECONFIG
	dir    string
}

func newElectors(t *testing.T) *electors {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("what comes of a command is followed on Linux alone")
	}
	api, err := leasetest.Start(local(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	e := &electors{t: t, api: api, dir: t.TempDir()}
	e.config = filepath.Join(e.dir, "kubeconfig")
	if err := api.WriteKubeconfig(e.config); err != nil {
		t.Fatal(err)
	}
	return e
}

// elector is one of them.
type elector struct {
	*exec.Cmd
	t     *testing.T
	ended chan struct{}
	code  int
	said  *bytes.Buffer // once ended
}

// start starts one with the timing 4 s, 2 s, 0.5 s.
func (e *electors) start(name string, flags ...string) *elector {
	e.t.Helper()
	args := append([]string{
		"elect", "--name", name, "--namespace", "n", "--leader-elect-resource-name", "l",
		"--leader-elect-lease-duration", "4s", "--leader-elect-renew-deadline", "2s", "--leader-elect-retry-period", "500ms",
	}, flags...)
	cmd := exec.Command(os.Args[0], "-test.run=^TestAsServer$")
	cmd.Env = append(os.Environ(), asServer+"="+strings.Join(args, "\x1f"), "KUBECONFIG="+e.config, "KUBERNETES_SERVICE_HOST=", "OUT="+e.dir)
	p := &elector{Cmd: cmd, t: e.t, ended: make(chan struct{}), said: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = p.said, p.said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // the code says it
		p.code = cmd.ProcessState.ExitCode()
	}()
	e.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if e.t.Failed() {
			e.t.Logf("%s said:\n%s", name, p.said)
		}
	})
	return p
}

// stop asks it to end, and waits.
func (p *elector) stop() {
	p.t.Helper()
	_ = p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Error("it does not end")
		return
	}
	if p.code != 0 {
		p.t.Errorf("exit code %d", p.code)
	}
}

// lines are those of a file that commands write to.
func (e *electors) lines(name string) []string {
	text, err := os.ReadFile(filepath.Join(e.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		e.t.Fatal(err)
	}
	return strings.Fields(string(text))
}

func (e *electors) awaitLines(name string, n int) []string {
	e.t.Helper()
	eventually(e.t, func() error {
		if got := e.lines(name); len(got) < n {
			return fmt.Errorf("%s has %q, want %d", name, got, n)
		}
		return nil
	})
	return e.lines(name)
}

// alive tells whether a process runs: it exists and is no zombie.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// The command's children end with it, whatever sessions they make for themselves, and only then another one starts.
func TestACommandEndsWithAllThatComesOfIt(t *testing.T) {
	t.Parallel()
	e := newElectors(t)
	const script = `echo $LEASEHOLD_NAME >>$OUT/names; echo $LEASEHOLD_EPOCH >>$OUT/epochs
sleep 1000 & echo $! >>$OUT/pids
setsid sh -c 'trap "" TERM; echo $$ >>$OUT/pids; while :; do sleep 1; done' &
(sleep 0.01 &)
wait`
	flags := []string{"--exec", "sh", "--exec-grace-period", "300ms", "--", "-c", script}
	first := e.start("a", flags...)
	pids := e.awaitLines("pids", 2)
	second := e.start("b", flags...)
	first.stop()
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %s has outlived its leader", pid)
		}
	}
	e.awaitLines("pids", 4)
	if names := e.lines("names"); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("the command ran at %q", names)
	}
	epochs := e.lines("epochs")
	if len(epochs) != 2 || len(epochs[0]) > len(epochs[1]) || len(epochs[0]) == len(epochs[1]) && epochs[0] >= epochs[1] {
		t.Errorf("epochs %q do not grow", epochs)
	}
	second.stop()
}

// A zombie would be left by whoever does not wait for what comes to him.
func TestOrphansAreWaitedFor(t *testing.T) {
	t.Parallel()
	e := newElectors(t)
	p := e.start("a", "--exec", "sh", "--", "-c", `(sh -c 'echo $$ >>$OUT/pids' &); exec sleep 1000`)
	pid := e.awaitLines("pids", 1)[0]
	eventually(t, func() error {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			return fmt.Errorf("process %s is still there", pid)
		}
		return nil
	})
	p.stop()
}

// No handler runs where a process is killed: the kernel ends the command.
func TestTheCommandDiesWithItsSidecar(t *testing.T) {
	t.Parallel()
	e := newElectors(t)
	flags := []string{"--exec", "sh", "--", "-c", `echo $$ >>$OUT/pids; exec sleep 1000`}
	first := e.start("a", flags...)
	pid := e.awaitLines("pids", 1)[0]
	e.start("b", flags...)
	killed := time.Now()
	_ = first.Process.Kill()
	eventually(t, func() error {
		if alive(pid) {
			return fmt.Errorf("process %s is still there", pid)
		}
		return nil
	})
	e.awaitLines("pids", 2)
	if took := time.Since(killed); took < 3*time.Second {
		t.Errorf("another one runs it %s after, while the Lease of 4 s still ran", took)
	}
}

// While the API server is away, the leader stops its command before the Lease can be somebody else's.
func TestTheCommandStopsWhenTheLeaseCannotBeRenewed(t *testing.T) {
	t.Parallel()
	e := newElectors(t)
	e.start("a", "--exec", "sh", "--", "-c", `trap "" TERM; echo $$ >>$OUT/pids; while :; do sleep 1; done`)
	pid := e.awaitLines("pids", 1)[0]
	if err := e.api.Set(leasetest.BlackHole); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	eventually(t, func() error {
		if alive(pid) {
			return errors.New("the command runs")
		}
		return nil
	})
	if took := time.Since(cut); took > 4*time.Second {
		t.Errorf("the command was stopped after %s, and the Lease is 4 s", took)
	}
	if err := e.api.Set(leasetest.Up); err != nil {
		t.Fatal(err)
	}
	e.awaitLines("pids", 2)
}

func TestASidecarAnswersAndKeepsItsFile(t *testing.T) {
	t.Parallel()
	e := newElectors(t)
	ports, err := localports.Block(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ports.Release)
	file, address := filepath.Join(e.dir, "leader.json"), local(ports.Ports()[0])
	p := e.start("a", "--http", address, "--file", file)
	eventually(t, func() error {
		got, err := textAt("http://" + address + "/leader")
		if err == nil && !strings.HasPrefix(got, `200 {"holder":"a","leading":true,"epoch":`) {
			err = errors.New(got)
		}
		return err
	})
	if got, err := textAt("http://" + address + "/"); err != nil || got != "200 {\"name\":\"a\"}\n" {
		t.Errorf("%s, %v", got, err)
	}
	var body struct {
		Holder  string
		Leading bool
		Until   time.Time
	}
	eventually(t, func() error {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &body)
		}
		if err == nil && (body.Holder != "a" || !body.Leading || !time.Now().Before(body.Until)) {
			err = fmt.Errorf("the file says %s", text)
		}
		return err
	})
	checkEvents(t, "http://"+address+"/events", p)
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"leading":false`) {
		t.Errorf("at the end the file says %s, %v", text, err)
	}
}

// checkEvents stops the process while its events are read.
func checkEvents(t *testing.T, url string, p *elector) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	lines := bufio.NewScanner(resp.Body)
	await := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("no event says %s: %v", want, lines.Err())
	}
	await(`"leading":true`)
	go p.stop()
	await(`"leading":false`)
	for lines.Scan() {
		continue // to the end, which the process makes
	}
	<-p.ended
}

func textAt(url string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, body), err
}
