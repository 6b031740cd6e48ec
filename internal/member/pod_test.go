package member_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/leasehold/leasehold/internal/member"
)

// boot starts a pod's process: its internal port answers, but its member does not start yet.
func (p *pod) boot() {
	p.set.t.Helper()
	var m atomic.Pointer[member.Member]
	leader := func() string {
		if named := p.set.named.Load(); named != nil {
			return *named
		}
		if m := m.Load(); m != nil {
			return m.RaftLeader()
		}
		return ""
	}
	p.boots++
	core, logs := observer.New(zapcore.InfoLevel)
	created, err := member.New(member.Config{
		Name: p.name, BootID: p.bootID(), Dir: p.dir, Peers: p.set.peers, QuotaBytes: p.set.quota,
		ListenPeer: "127.0.0.1:" + strconv.Itoa(p.set.ports[2*p.ordinal+1]),
		Heartbeat:  50 * time.Millisecond, Election: 500 * time.Millisecond,
		Replicas: p.set.countReplicas, Leader: leader, Leading: func() bool { return leader() == p.name },
		Log: zap.New(zapcore.NewTee(core, debugCore())).Named(p.name),
	})
	if err != nil {
		p.set.t.Fatal(err)
	}
	created.Hasten(p.set.grace, 100*time.Millisecond)
	m.Store(created)
	p.member, p.logs = created, logs
	p.serve(created.Handler())
}

// debugCore prints all logs if LEASEHOLD_TEST_LOG is set.
func debugCore() zapcore.Core {
	if os.Getenv("LEASEHOLD_TEST_LOG") == "" {
		return zapcore.NewNopCore()
	}
	return zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), os.Stderr, zapcore.InfoLevel)
}

func (s *set) countReplicas(context.Context) (int, error) {
	n := int(s.replicas.Load())
	if n < 0 {
		return 0, errors.New("the API server is away")
	}
	return n, nil
}

func (p *pod) bootID() string { return fmt.Sprintf("%s-boot-%d", p.name, p.boots) }

// serve serves the internal port, and has the leader's job run.
func (p *pod) serve(h http.Handler) {
	p.set.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p.set.ports[2*p.ordinal]))
	if err != nil {
		p.set.t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		promoteLoop(ctx, p.member)
	}()
	p.shutdown = func() {
		cancel()
		_ = server.Close()
		<-done
	}
}

// promoteLoop is the leader's job. What fails, because this pod does not lead for one, is tried again.
func promoteLoop(ctx context.Context, m *member.Member) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = m.Promote(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (p *pod) start() {
	m, started := p.member, make(chan error, 1)
	p.started = started
	go func() { started <- m.Start(context.Background()) }()
}

// wipe empties the disk of a pod that does not run.
func (p *pod) wipe() {
	p.set.t.Helper()
	p.dir = p.set.t.TempDir()
}

// stop ends a pod's process as SIGTERM does.
func (p *pod) stop() {
	p.set.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.member.Leave(ctx); err != nil {
		p.set.t.Errorf("%s: %v", p.name, err)
	}
	p.shutdown()
	if err := p.member.Close(); err != nil {
		p.set.t.Errorf("%s: %v", p.name, err)
	}
	p.member = nil
}

func (p *pod) sees(want []string) error {
	select {
	case err := <-p.started:
		p.started <- err
		if err != nil {
			return err
		}
	default:
	}
	if !p.member.Voter() {
		return errors.New("not a voter")
	}
	infos, err := p.member.Members(context.Background())
	if err != nil {
		return err
	}
	var names []string
	for _, info := range infos {
		if !info.Voter || !info.Started {
			return fmt.Errorf("sees %+v", info)
		}
		names = append(names, info.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, want) {
		return fmt.Errorf("sees %v, want %v", names, want)
	}
	return nil
}

// reason is what the pod's member waits for, as it has logged.
func (p *pod) reason() string {
	lines := p.logs.FilterMessage("waiting").All()
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprint(lines[len(lines)-1].ContextMap()["for"])
}

// waitsFor waits until the pod's member has said that it waits for this.
func (p *pod) waitsFor(what string) {
	p.set.t.Helper()
	eventually(p.set.t, func() error {
		if reason := p.reason(); !strings.Contains(reason, what) {
			return fmt.Errorf("%s waits for %q, not %q", p.name, reason, what)
		}
		return nil
	})
}

// isVoter waits until the pod's member is ready and votes, whether the others do or not.
func (p *pod) isVoter() {
	p.set.t.Helper()
	eventually(p.set.t, func() error {
		if !p.member.Voter() {
			return fmt.Errorf("%s is not a voter; it waits for %q", p.name, p.reason())
		}
		return nil
	})
}

func (p *pod) put(key string) {
	p.set.t.Helper()
	eventually(p.set.t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := p.member.Client().Put(ctx, key, "value")
		return err
	})
}

// has waits until the pod's own member holds the key.
func (p *pod) has(key string) {
	p.set.t.Helper()
	eventually(p.set.t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		resp, err := p.member.Client().Get(ctx, key)
		if err == nil && len(resp.Kvs) != 1 {
			err = fmt.Errorf("%s does not hold %q", p.name, key)
		}
		return err
	})
}

// memberID returns the pod's ID in the cluster, as another pod knows it; 0 if it has none.
func (p *pod) memberID(of *pod) uint64 {
	infos, _ := p.member.Members(context.Background())
	for _, info := range infos {
		if info.Name == of.name {
			return info.ID
		}
	}
	return 0
}

// setAside returns how many directories with the data of a removed member the pod's disk holds.
func (p *pod) setAside() int {
	dirs, _ := filepath.Glob(filepath.Join(p.dir, "removed-*"))
	return len(dirs)
}

// request sends JSON to the pod's internal port and returns the status and the answer.
func (p *pod) request(method, path string, body any) (int, map[string]any) {
	p.set.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		p.set.t.Fatal(err)
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/internal/v1/%s", p.set.ports[2*p.ordinal], path)
	req, err := http.NewRequest(method, url, bytes.NewReader(data))
	if err != nil {
		p.set.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.set.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := map[string]any{}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		p.set.t.Fatal(err)
	}
	return resp.StatusCode, answer
}
