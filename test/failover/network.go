package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// The networks are namespaces: a hub, with a bridge and this program in it, and one for each replica, whose end
// of the cable in the hub is linkName. Nothing is made outside of them.
const (
	hubAddress = "10.77.0.1"
	bridge     = "br0"

	// networkVariable tells this program that it is in the hub of the networks with that prefix.
	networkVariable = "LEASEHOLD_FAILOVER_NETWORK"

	// stopLimit is how long the program in the hub has to end after it was told to.
	stopLimit = time.Minute
)

func hubNetwork(prefix string) string                  { return prefix + "-hub" }
func replicaNetwork(prefix string, ordinal int) string { return fmt.Sprintf("%s-%d", prefix, ordinal) }

func replicaAddress(ordinal int) string { return fmt.Sprintf("10.77.0.%d", 10+ordinal) }
func linkName(ordinal int) string       { return fmt.Sprintf("replica%d", ordinal) }

type network struct {
	prefix string
	made   []string // the namespaces
}

// makeNetwork fails where there is no way to make one; nothing is left then.
func makeNetwork(ctx context.Context) (n *network, err error) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return nil, errors.New("they need Linux and root")
	}
	n = &network{prefix: fmt.Sprintf("leasehold-failover-%d", os.Getpid())}
	defer func() {
		if err != nil {
			n.remove()
		}
	}()
	if err := n.makeHub(ctx); err != nil {
		return nil, err
	}
	for i := range replicaCount {
		if err := n.join(ctx, i); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *network) makeHub(ctx context.Context) error {
	hub := hubNetwork(n.prefix)
	if err := n.add(ctx, hub); err != nil {
		return err
	}
	return ipAll(
		ctx,
		[]string{"-n", hub, "link", "add", bridge, "type", "bridge"},
		[]string{"-n", hub, "address", "add", hubAddress + "/24", "dev", bridge},
		[]string{"-n", hub, "link", "set", bridge, "up"},
	)
}

// join makes a replica's network and connects it to the hub.
func (n *network) join(ctx context.Context, ordinal int) error {
	hub, own, link := hubNetwork(n.prefix), replicaNetwork(n.prefix, ordinal), linkName(ordinal)
	if err := n.add(ctx, own); err != nil {
		return err
	}
	return ipAll(
		ctx,
		[]string{"-n", hub, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", own},
		[]string{"-n", hub, "link", "set", link, "master", bridge, "up"},
		[]string{"-n", own, "address", "add", replicaAddress(ordinal) + "/24", "dev", "eth0"},
		[]string{"-n", own, "link", "set", "eth0", "up"},
	)
}

func (n *network) add(ctx context.Context, namespace string) error {
	if err := command(ctx, "ip", "netns", "add", namespace); err != nil {
		return err
	}
	n.made = append(n.made, namespace)
	return command(ctx, "ip", "-n", namespace, "link", "set", "lo", "up")
}

// remove takes the networks down. Nothing runs on them any more.
func (n *network) remove() {
	for _, namespace := range n.made {
		if err := command(context.Background(), "ip", "netns", "delete", namespace); err != nil {
			fmt.Fprintln(os.Stderr, "failover:", err)
		}
	}
	n.made = nil
}

// run runs this program in the hub, and returns when it has ended.
func (n *network) run(ctx context.Context, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // childAttributes counts on the thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", hubNetwork(n.prefix), self}, args...)...)
	cmd.Env = append(os.Environ(), networkVariable+"="+n.prefix)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = childAttributes(syscall.SIGTERM)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	return cmd.Run()
}

func ipAll(ctx context.Context, commands ...[]string) error {
	for _, c := range commands {
		if err := command(ctx, "ip", c...); err != nil {
			return err
		}
	}
	return nil
}

// setLink connects a replica to the others, or cuts it off. It is called in the hub.
func (s site) setLink(ctx context.Context, ordinal int, state string) error {
	return command(ctx, "ip", "link", "set", linkName(ordinal), state)
}

// lose has each end of each link drop that share of the packets that reach it. It is called in the hub.
func (s site) lose(ctx context.Context, share float64) error {
	rule := []string{"iptables", "-A", "INPUT", "!", "-i", "lo", "-m", "statistic", "--mode", "random", "--probability", fmt.Sprint(share), "-j", "DROP"}
	return s.filter(ctx, rule)
}

// loseNothing ends what lose began.
func (s site) loseNothing(ctx context.Context) error {
	return s.filter(ctx, []string{"iptables", "-F", "INPUT"})
}

func (s site) filter(ctx context.Context, rule []string) error {
	errs := []error{command(ctx, rule[0], rule[1:]...)}
	for i := range replicaCount {
		there := s.command(i, rule...)
		errs = append(errs, command(ctx, there[0], there[1:]...))
	}
	return errors.Join(errs...)
}

func command(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w %s", cmd, err, text)
	}
	return nil
}
