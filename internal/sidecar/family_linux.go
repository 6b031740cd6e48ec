package sidecar

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// family is the program that runs and all processes that come of it, whatever groups and sessions they make for
// themselves: whose parent ends comes to this process, as to the first process of a container. So the family is what
// descends from this process.
type family struct {
	mu   sync.Mutex
	main int // the program's process ID until it has been waited for, else 0
}

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adopt has orphans come to this process, and waits for those that end, until ctx is done.
func (f *family) adopt(ctx context.Context) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of the command's orphans: %w", err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		defer signal.Stop(ended)
		for {
			f.reap()
			select {
			case <-ended:
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// reap waits for the orphans that have ended, so that none stays as a zombie. The program is its run's to wait for, and
// while it starts nobody knows which process it is.
func (f *family) reap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range descendants() {
		if p.zombie && p.parent == os.Getpid() && p.id != f.main {
			_, _ = unix.Wait4(p.id, nil, unix.WNOHANG, nil) // somebody else's, or gone
		}
	}
}

func (f *family) start(cmd *exec.Cmd) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	f.main = cmd.Process.Pid
	return nil
}

// ended takes in that the program has been waited for.
func (f *family) ended() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.main = 0
}

// signal signals all of the family: the program's group at once, and the others one by one.
func (f *family) signal(sig syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.main != 0 {
		_ = unix.Kill(-f.main, sig) // who has ended needs none
	}
	for _, p := range descendants() {
		if !p.zombie && p.group != f.main {
			_ = unix.Kill(p.id, sig)
		}
	}
}

// left tells whether any of the family lives.
func (f *family) left() bool {
	for _, p := range descendants() {
		if !p.zombie {
			return true
		}
	}
	return false
}

// relative is a process as /proc shows it.
type relative struct {
	id, parent, group int
	zombie            bool
}

// descendants are all processes that descend from this one. What ends while it is looked at may be missing.
func descendants() []relative {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // no /proc, no orphans: there is nothing better
	}
	children := map[int][]relative{}
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readRelative(id); ok {
				children[p.parent] = append(children[p.parent], p)
			}
		}
	}
	found := children[os.Getpid()]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].id]...)
	}
	return found
}

// readRelative reads /proc/ID/stat: the ID, the name in parentheses, the state, the parent, the group.
func readRelative(id int) (relative, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return relative{}, false
	}
	p := relative{id: id}
	var state byte
	_, err = fmt.Fscanf(bytes.NewReader(stat[bytes.LastIndexByte(stat, ')')+1:]), " %c %d %d", &state, &p.parent, &p.group)
	p.zombie = state == 'Z' || state == 'X'
	return p, err == nil
}
