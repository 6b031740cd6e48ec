package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/leasehold/leasehold/internal/api"
	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/member"
	"github.com/leasehold/leasehold/internal/store"
)

// Kinds of lock.
const (
	lockLeases     = "leases"
	lockConfigMaps = "configmaps"
	lockSecrets    = "secrets"
	lockStore      = "store"
)

// serveConfig is what the flags of "server serve" say.
type serveConfig struct {
	name, namespace, service string
	dataDir                  string
	peers                    string
	replicas                 int

	listen, listenInternal, listenPeer, listenClient string

	elections      string
	lock           string
	storesWord     bool
	leaseName      string
	leaseNamespace string
	timing         election.Timing

	writeWait        time.Duration
	leaderReads      string
	quota            int64
	historyRetention time.Duration
	heartbeat        time.Duration
	electionTimeout  time.Duration

	logLevel, logFormat string
}

const (
	defaultInternalPort = 7070
	defaultPeerPort     = 2380
	mebibyte            = 1 << 20
	minQuota            = 128 * mebibyte

	// What is written within this time is answered before publicServer's write timeout ends the connection.
	maxWriteWait = 30 * time.Second

	// What etcd demands of its own timing.
	heartbeatsPerElection = 5
	maxElectionTimeout    = 50 * time.Second
)

// podName is the name of a pod of a StatefulSet: the set's, and the ordinal.
var podName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?-(0|[1-9][0-9]*)$`)

func (c *serveConfig) flags() *pflag.FlagSet {
	f := newFlagSet("serve")
	f.StringVar(&c.name, "name", os.Getenv("POD_NAME"), "name of this replica, such as leasehold-0 (default $POD_NAME)")
	f.StringVar(&c.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Kubernetes namespace (default $POD_NAMESPACE)")
	f.StringVar(&c.service, "service", "leasehold", "headless Service that gives the replicas their names")
	f.StringVar(&c.dataDir, "data-dir", "", "folder for this replica's data (required)")
	f.StringVar(&c.peers, "peers", "", "replicas outside Kubernetes, as NAME=HOST:INTERNALPORT:PEERPORT,…")
	f.IntVar(&c.replicas, "replicas", 0, "how many of the --peers form the cluster (default: all of them)")

	f.StringVar(&c.listen, "listen", ":8080", "address of the public API")
	f.StringVar(&c.listenInternal, "listen-internal", fmt.Sprintf(":%d", defaultInternalPort), "address for the other replicas")
	f.StringVar(&c.listenPeer, "listen-peer", fmt.Sprintf("0.0.0.0:%d", defaultPeerPort), "address for etcd's own traffic between replicas")
	f.StringVar(&c.listenClient, "listen-client", "127.0.0.1:2379", "loopback address for a person with etcdctl; empty for none")

	f.StringVar(&c.elections, "elections", store.Writes, "the elections, each with a leader of its own: writes, whose leader writes the data, and others that jobs may belong to, as writes,jobs")
	f.StringVar(&c.lock, "leader-elect-resource-lock", "", "where the election is held: leases, configmaps, secrets or store; or two of them, as FIRST,SECOND, both of which a leader holds, to go from one to the other (default leases in Kubernetes, else store)")
	f.StringVar(&c.leaseName, "leader-elect-resource-name", "leasehold", "name of the Lease, ConfigMap or Secret; that of another election than writes has the election's name after it, as leasehold-jobs")
	f.StringVar(&c.leaseNamespace, "leader-elect-resource-namespace", "", "its namespace (default --namespace)")
	f.BoolVar(&c.storesWord, "leader-elect-stores-word", true, "lead on while the API server is away, as long as the store says so; false where other clients take part in the election, which do not ask the store")
	f.DurationVar(&c.timing.LeaseDuration, "leader-elect-lease-duration", election.DefaultTiming.LeaseDuration, "how long the others wait for a silent holder; whole seconds")
	f.DurationVar(&c.timing.RenewDeadline, "leader-elect-renew-deadline", election.DefaultTiming.RenewDeadline, "how long a holder tries to renew before it gives up")
	f.DurationVar(&c.timing.RetryPeriod, "leader-elect-retry-period", election.DefaultTiming.RetryPeriod, "pause between tries")

	f.DurationVar(&c.writeWait, "write-wait", 10*time.Second, "how long a write waits for a leader and an outcome; 1s to 30s")
	f.StringVar(&c.leaderReads, "leader-reads", api.ReadsLocal, "what the leader does with reads: local, or have followers answer them by proxy or redirect")
	f.Int64Var(&c.quota, "quota-bytes", 1024*mebibyte, "size of the store; from 90 % of it on, writes that grow it are refused")
	f.DurationVar(&c.historyRetention, "history-retention", 5*time.Minute, "how long old revisions can be read and watched; less while the store is over half full")
	f.DurationVar(&c.heartbeat, "etcd-heartbeat-interval", 100*time.Millisecond, "etcd's heartbeat interval")
	f.DurationVar(&c.electionTimeout, "etcd-election-timeout", 500*time.Millisecond, "etcd's election timeout; at least five heartbeat intervals")

	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "json", "json or console")
	return f
}

func newFlagSet(command string) *pflag.FlagSet {
	f := pflag.NewFlagSet(command, pflag.ContinueOnError)
	f.SortFlags = false
	return f
}

func parseServe(args []string, stdout io.Writer) (serveConfig, error) {
	var c serveConfig
	if err := parse(c.flags(), args, stdout); err != nil {
		return serveConfig{}, err
	}
	c.setDefaults()
	if err := c.validate(); err != nil {
		return serveConfig{}, usageError{err}
	}
	return c, nil
}

// parse reads args into f. What it prints is the help that was asked for.
func parse(f *pflag.FlagSet, args []string, stdout io.Writer) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(stdout, "Flags of server %s:\n%s", f.Name(), f.FlagUsages())
		return err
	case err != nil:
		return usageError{fmt.Errorf("%s; \"server %s --help\" lists the flags", mistake(err), f.Name())}
	case f.NArg() > 0:
		return usageError{fmt.Errorf("%q is not a flag; \"server %s --help\" lists the flags", f.Arg(0), f.Name())}
	}
	return nil
}

// mistake says what pflag's err means. pflag's own words about a value are those of the function that parsed it.
func mistake(err error) string {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			return fmt.Sprintf("there is no flag -%s", short)
		}
		return fmt.Sprintf("there is no flag --%s", unknown.GetSpecifiedName())
	case errors.As(err, &missing):
		return fmt.Sprintf("--%s needs a value", missing.GetSpecifiedName())
	case errors.As(err, &invalid):
		return fmt.Sprintf("--%s must be %s, not %q", invalid.GetFlag().Name, wanted(invalid), invalid.GetValue())
	}
	return err.Error()
}

// wanted says what kind of value the flag takes.
func wanted(invalid *pflag.InvalidValueError) string {
	switch kind := invalid.GetFlag().Value.Type(); {
	case errors.Is(invalid, strconv.ErrRange):
		return "a number of fewer digits"
	case kind == "int", kind == "int64":
		return "a whole number"
	case kind == "duration":
		return "a time with its unit, such as 10s or 500ms"
	case kind == "bool":
		return "true or false"
	default:
		return "a " + kind
	}
}

func inKubernetes() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }

func (c *serveConfig) setDefaults() {
	if c.lock == "" {
		c.lock = lockStore
		if inKubernetes() {
			c.lock = lockLeases
		}
	}
	if c.leaseNamespace == "" {
		c.leaseNamespace = c.namespace
	}
}

// validate returns the first thing that is wrong, and what to do about it.
func (c *serveConfig) validate() error {
	if c.name == "" {
		return errors.New("give the replica a name, with --name leasehold-0 or $POD_NAME")
	}
	if !podName.MatchString(c.name) {
		return fmt.Errorf("--name is %q; it must be the name of a set and a number, such as leasehold-0, in lower case", c.name)
	}
	if c.dataDir == "" {
		return errors.New("say where the data is to be kept, with --data-dir")
	}
	if c.peers == "" && c.namespace == "" {
		return errors.New("say where the other replicas are: --namespace (or $POD_NAMESPACE) in Kubernetes, --peers elsewhere")
	}
	if err := c.validateLock(); err != nil {
		return err
	}
	if err := c.validateElections(); err != nil {
		return err
	}
	if err := c.timing.Validate(); err != nil {
		return fmt.Errorf("the flags --leader-elect-… do not fit together: %w", err)
	}
	if err := c.validateLimits(); err != nil {
		return err
	}
	if err := c.validateAddresses(); err != nil {
		return err
	}
	if _, err := c.where(); err != nil {
		return err
	}
	return c.validateReplicas()
}

// locks are the kinds of lock that the election is held over: one, or two.
func (c *serveConfig) locks() []string { return strings.Split(c.lock, ",") }

// lockedByAPI tells whether a lock is kept on an object of the Kubernetes API.
func (c *serveConfig) lockedByAPI() bool {
	return slices.ContainsFunc(c.locks(), func(kind string) bool { return kind != lockStore })
}

func (c *serveConfig) validateLock() error {
	locks := c.locks()
	for _, kind := range locks {
		switch kind {
		case lockLeases, lockConfigMaps, lockSecrets, lockStore:
		default:
			return fmt.Errorf("--leader-elect-resource-lock is %q; it may be leases, configmaps, secrets or store, or two of them such as leases,configmaps", c.lock)
		}
	}
	if len(locks) > 2 || (len(locks) == 2 && locks[0] == locks[1]) {
		return fmt.Errorf("--leader-elect-resource-lock is %q; it may name two different locks at most", c.lock)
	}
	if c.lockedByAPI() && c.leaseNamespace == "" {
		return errors.New("name the namespace of the lock, with --leader-elect-resource-namespace or --namespace")
	}
	return nil
}

func (c *serveConfig) validateLimits() error {
	if c.writeWait < time.Second || c.writeWait > maxWriteWait {
		return fmt.Errorf("--write-wait is %s; it may be 1s to %s", c.writeWait, maxWriteWait)
	}
	switch {
	case !slices.Contains([]string{api.ReadsLocal, api.ReadsProxy, api.ReadsRedirect}, c.leaderReads):
		return fmt.Errorf("--leader-reads is %q; it may be local, proxy or redirect", c.leaderReads)
	case c.leaderReads == api.ReadsRedirect && c.peers != "":
		return errors.New("--leader-reads=redirect sends clients to the pods' DNS names, which --peers does not have; use proxy")
	}
	if c.quota < minQuota {
		return fmt.Errorf("--quota-bytes is %d; it must be at least %d (128 MiB)", c.quota, minQuota)
	}
	if c.historyRetention < time.Second {
		return fmt.Errorf("--history-retention is %s; it must be at least 1s", c.historyRetention)
	}
	if c.heartbeat < time.Millisecond {
		return fmt.Errorf("--etcd-heartbeat-interval is %s; it must be at least 1ms", c.heartbeat)
	}
	if c.electionTimeout/heartbeatsPerElection < c.heartbeat || c.electionTimeout > maxElectionTimeout {
		return fmt.Errorf("--etcd-election-timeout is %s; it must be at least five times --etcd-heartbeat-interval (%s), and at most %s",
			c.electionTimeout, c.heartbeat, maxElectionTimeout)
	}
	return nil
}

// validateReplicas is for replicas outside Kubernetes; inside, the StatefulSet says how many there are.
func (c *serveConfig) validateReplicas() error {
	if c.replicas == 0 {
		return nil
	}
	if c.peers == "" {
		return errors.New("--replicas is for use with --peers; without them the StatefulSet says how many replicas there are")
	}
	if peers := strings.Count(c.peers, "="); c.replicas < 1 || c.replicas > peers {
		return fmt.Errorf("--replicas is %d, but --peers names %d; it may be 1 to %[2]d", c.replicas, peers)
	}
	return nil
}

func (c *serveConfig) validateAddresses() error {
	for flag, address := range map[string]string{
		"listen": c.listen, "listen-internal": c.listenInternal, "listen-peer": c.listenPeer, "listen-client": c.listenClient,
	} {
		if address == "" && flag == "listen-client" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("--%s is %q; it must be HOST:PORT or :PORT", flag, address)
		}
	}
	if c.listenClient != "" && !loopbackOnly(c.listenClient) {
		return fmt.Errorf("--listen-client is %q; it must be a loopback address such as 127.0.0.1:2379, or empty: "+
			"what is written there goes around the leader", c.listenClient)
	}
	return nil
}

// loopbackOnly tells whether only this machine can reach the address.
func loopbackOnly(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// set is the name of the StatefulSet: the pod's without its ordinal.
func (c *serveConfig) set() string {
	if i := strings.LastIndexByte(c.name, '-'); i >= 0 {
		return c.name[:i]
	}
	return c.name
}

// where says where the replicas are.
func (c *serveConfig) where() (member.Peers, error) {
	peers := member.StatefulSetPeers(c.set(), c.service, c.namespace, defaultInternalPort, defaultPeerPort)
	if c.peers != "" {
		var err error
		if peers, err = member.ParsePeers(c.set(), c.peers); err != nil {
			return member.Peers{}, fmt.Errorf("--%w", err) // it begins with "peers: "
		}
	}
	if _, err := peers.Ordinal(c.name); err != nil {
		return member.Peers{}, fmt.Errorf("--name: %w", err)
	}
	return peers, nil
}

// publicURL makes the base URL of a pod's public port: a DNS name is the same for all its ports.
func (c *serveConfig) publicURL(internalURL func(pod string) (string, error)) func(pod string) (string, error) {
	return func(pod string) (string, error) {
		base, err := internalURL(pod)
		if err != nil {
			return "", err
		}
		u, err := url.Parse(base)
		if err != nil {
			return "", err
		}
		_, port, err := net.SplitHostPort(c.listen)
		return "http://" + net.JoinHostPort(u.Hostname(), port), err
	}
}

// count is how many replicas there are outside Kubernetes.
func (c *serveConfig) count(context.Context) (int, error) {
	if c.replicas > 0 {
		return c.replicas, nil
	}
	return strings.Count(c.peers, "="), nil
}
