// Package lab runs replicas as processes of this machine, for programs that disturb them and look what comes of
// it: the networks, the replicas, and a stand-in for the Kubernetes API server.
//
// The invariant: what it has made or started is gone when its Remove, Destroy or Close has returned, and a process that
// it has started does not outlive this program.
package lab

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// ReplicaCount is how many replicas there are as a rule, and on networks of their own always.
const ReplicaCount = 3

// commandLimit bounds every command that is run.
const commandLimit = 30 * time.Second

// ReplicaName is a replica's name.
func ReplicaName(ordinal int) string { return fmt.Sprintf("leasehold-%d", ordinal) }

// Command runs a program, for 30 s at most. The error says what was run and what it wrote.
func Command(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w %s", cmd, err, text)
	}
	return nil
}

// Pause waits, and returns false if ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
