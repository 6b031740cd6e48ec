package lab

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
	hubAddress = "10.77.0.1" // the clients' address
	apiAddress = "10.77.0.2" // the API server's, in the hub too
	bridge     = "br0"

	// networkVariable tells this program that it is in the hub of the networks with that prefix.
	networkVariable = "LEASEHOLD_LAB_NETWORK"

	// stopLimit is how long the program in the hub has to end after it was told to.
	stopLimit = time.Minute
)

func hubNetwork(prefix string) string                  { return prefix + "-hub" }
func replicaNetwork(prefix string, ordinal int) string { return fmt.Sprintf("%s-%d", prefix, ordinal) }

func replicaAddress(ordinal int) string { return fmt.Sprintf("10.77.0.%d", 10+ordinal) }
func linkName(ordinal int) string       { return fmt.Sprintf("replica%d", ordinal) }

// Networks are those of the replicas and of the hub that joins them.
type Networks struct {
	name   string // of this program
	prefix string
	made   []string // the namespaces
}

// MakeNetworks makes them for the program of that name. It fails where there is no way to; nothing is left then.
func MakeNetworks(ctx context.Context, name string) (n *Networks, err error) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return nil, errors.New("they need Linux and root")
	}
	n = &Networks{name: name, prefix: fmt.Sprintf("leasehold-%s-%d", name, os.Getpid())}
	defer func() {
		if err != nil {
			n.Remove()
		}
	}()
	if err := n.makeHub(ctx); err != nil {
		return nil, err
	}
	for i := range ReplicaCount {
		if err := n.join(ctx, i); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Networks) makeHub(ctx context.Context) error {
	hub := hubNetwork(n.prefix)
	if err := n.add(ctx, hub); err != nil {
		return err
	}
	return ipAll(
		ctx,
		[]string{"-n", hub, "link", "add", bridge, "type", "bridge"},
		[]string{"-n", hub, "address", "add", hubAddress + "/24", "dev", bridge},
		[]string{"-n", hub, "address", "add", apiAddress + "/24", "dev", bridge},
		[]string{"-n", hub, "link", "set", bridge, "up"},
	)
}

// join makes a replica's network and connects it to the hub.
func (n *Networks) join(ctx context.Context, ordinal int) error {
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

func (n *Networks) add(ctx context.Context, namespace string) error {
	if err := Command(ctx, "ip", "netns", "add", namespace); err != nil {
		return err
	}
	n.made = append(n.made, namespace)
	return Command(ctx, "ip", "-n", namespace, "link", "set", "lo", "up")
}

// Remove takes the networks down. Nothing runs on them any more.
func (n *Networks) Remove() {
	for _, namespace := range n.made {
		if err := Command(context.Background(), "ip", "netns", "delete", namespace); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", n.name, err)
		}
	}
	n.made = nil
}

// Run runs this program in the hub, and returns when it has ended.
func (n *Networks) Run(ctx context.Context, args []string) error {
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
		if err := Command(ctx, "ip", c...); err != nil {
			return err
		}
	}
	return nil
}
