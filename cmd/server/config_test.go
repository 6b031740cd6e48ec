package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

const threePeers = "leasehold-0=127.0.0.1:7070:2380,leasehold-1=127.0.0.1:7071:2381,leasehold-2=127.0.0.1:7072:2382"

// outside is a command line that is complete outside Kubernetes, with more flags after it; the last of a flag counts.
func outside(more ...string) []string {
	return append([]string{"--name", "leasehold-0", "--data-dir", "d", "--peers", threePeers, "--leader-elect-resource-lock", "store"}, more...)
}

func TestServeFlagsThatAreRight(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		outside(),
		outside("--name", "leasehold-2"),
		outside("--replicas", "1"),
		outside("--replicas", "3"),
		outside("--listen-client", ""),
		outside("--listen-client", "127.0.0.2:2379"),
		outside("--listen-client", "[::1]:2379"),
		outside("--listen-client", "localhost:2379"),
		outside("--etcd-heartbeat-interval", "200ms", "--etcd-election-timeout", "1s"),
		outside("--etcd-election-timeout", "50s"),
		outside("--write-wait", "1s"),
		outside("--write-wait", "30s"),
		outside("--quota-bytes", "134217728"),
		outside("--elections", "writes"),
		outside("--elections", "jobs,writes"),
		outside("--elections", "writes,a,b-2,33333333333333333333,d,e,f,g"),
		{"--name", "a-b-63", "--namespace", "n", "--data-dir", "d"},
	} {
		if _, err := parseServe(args, io.Discard); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestServeDefaults(t *testing.T) {
	t.Parallel()
	c, err := parseServe(outside(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if c.quota != 1<<30 || c.writeWait != 10*time.Second || c.listenClient != "127.0.0.1:2379" {
		t.Errorf("the quota is %d, a write waits %s, etcdctl is served at %s", c.quota, c.writeWait, c.listenClient)
	}
	if n, err := c.count(context.Background()); n != 3 || err != nil {
		t.Errorf("%d replicas (%v), want as many as peers: 3", n, err)
	}
}

// Whatever their order, that of the data is the first, and its lock has the name that it has alone.
func TestElectionsHaveLocksOfTheirOwn(t *testing.T) {
	t.Parallel()
	c, err := parseServe(outside("--elections", "jobs,writes,other"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var locks []string
	for _, name := range c.electionNames() {
		locks = append(locks, name+": "+c.lockName(name))
	}
	if want := []string{"writes: leasehold", "jobs: leasehold-jobs", "other: leasehold-other"}; !slices.Equal(locks, want) {
		t.Errorf("the locks are %v, want %v", locks, want)
	}
}

// A client of one pod is sent to the same port of another.
func TestThePublicAddressOfAPod(t *testing.T) {
	t.Parallel()
	c, err := parseServe([]string{"--name", "leasehold-0", "--namespace", "n", "--data-dir", "d", "--leader-reads", "redirect"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	peers, err := c.where()
	if err != nil {
		t.Fatal(err)
	}
	to := c.publicURL(peers.InternalURL)
	if url, err := to("leasehold-1"); url != "http://leasehold-1.leasehold.n.svc:8080" || err != nil {
		t.Errorf("the address is %q, %v", url, err)
	}
	if url, err := to("evil.example.com"); err == nil {
		t.Errorf("a name that is no pod's has the address %q", url)
	}
}

// Every mistake on the command line is one sentence, which names the flag, and exit code 2.
func TestServeFlagsThatAreWrong(t *testing.T) {
	t.Parallel()
	const help = `; "server serve --help" lists the flags`
	for _, c := range []struct {
		args []string
		want string
	}{
		{outside("--bogus"), "there is no flag --bogus" + help},
		{outside("--bogus=1"), "there is no flag --bogus" + help},
		{outside("-x"), "there is no flag -x" + help},
		{outside("-name", "a-0"), "there is no flag -name" + help},
		{outside("--=x"), "bad flag syntax: --=x" + help},
		{outside("--quota-bytes"), "--quota-bytes needs a value" + help},
		{outside("--quota-bytes", "abc"), `--quota-bytes must be a whole number, not "abc"` + help},
		{outside("--quota-bytes", "1Gi"), `--quota-bytes must be a whole number, not "1Gi"` + help},
		{outside("--quota-bytes", "99999999999999999999"), `--quota-bytes must be a number of fewer digits, not "99999999999999999999"` + help},
		{outside("--replicas", "three"), `--replicas must be a whole number, not "three"` + help},
		{outside("--write-wait", "5"), `--write-wait must be a time with its unit, such as 10s or 500ms, not "5"` + help},
		{outside("more"), `"more" is not a flag` + help},

		{outside("--name", ""), "give the replica a name, with --name leasehold-0 or $POD_NAME"},
		{outside("--name", "foo"), `--name is "foo"; it must be the name of a set and a number, such as leasehold-0`},
		{outside("--name", "leasehold-01"), `--name is "leasehold-01"; it must be`},
		{outside("--name", "Leasehold-0"), `--name is "Leasehold-0"; it must be`},
		{outside("--name", "-0"), `--name is "-0"; it must be`},
		{outside("--name", "a/b-0"), `--name is "a/b-0"; it must be`},
		{outside("--name", "leasehold-3"), `--name: "leasehold-3": not a pod of this set (leasehold-0 to leasehold-2)`},
		{outside("--peers", "x"), `--peers: "x" is not NAME=HOST:INTERNALPORT:PEERPORT`},
		{outside("--peers", "other-0=h:1:2"), `--peers: "other-0": not a pod of this set`},

		{outside("--replicas", "4"), "--replicas is 4, but --peers names 3; it may be 1 to 3"},
		{outside("--replicas", "-1"), "--replicas is -1, but --peers names 3; it may be 1 to 3"},
		{outside("--peers", "", "--namespace", "n", "--replicas", "3"), "--replicas is for use with --peers"},

		{outside("--listen-client", ":2379"), `--listen-client is ":2379"; it must be a loopback address`},
		{outside("--listen-client", "0.0.0.0:2379"), `--listen-client is "0.0.0.0:2379"; it must be a loopback address`},
		{outside("--listen-client", "10.0.0.1:2379"), `--listen-client is "10.0.0.1:2379"; it must be a loopback address`},
		{outside("--listen-client", "example.com:2379"), `--listen-client is "example.com:2379"; it must be a loopback address`},
		{outside("--listen-client", "127.0.0.1"), `--listen-client is "127.0.0.1"; it must be HOST:PORT or :PORT`},

		{outside("--etcd-election-timeout", "499ms"), "--etcd-election-timeout is 499ms; it must be at least five times --etcd-heartbeat-interval (100ms)"},
		{outside("--etcd-heartbeat-interval", "201ms"), "--etcd-election-timeout is 500ms; it must be at least five times --etcd-heartbeat-interval (201ms)"},
		{outside("--etcd-election-timeout", "51s"), "--etcd-election-timeout is 51s; it must be"},
		{outside("--etcd-heartbeat-interval", "0s"), "--etcd-heartbeat-interval is 0s; it must be at least 1ms"},

		{outside("--leader-reads", "nobody"), `--leader-reads is "nobody"; it may be local, proxy or redirect`},
		{outside("--leader-reads", "redirect"), "--leader-reads=redirect sends clients to the pods' DNS names, which --peers does not have; use proxy"},
		{outside("--write-wait", "999ms"), "--write-wait is 999ms; it may be 1s to 30s"},
		{outside("--write-wait", "31s"), "--write-wait is 31s; it may be 1s to 30s"},
		{outside("--quota-bytes", "134217727"), "--quota-bytes is 134217727; it must be at least 134217728 (128 MiB)"},
		{outside("--history-retention", "0s"), "--history-retention is 0s; it must be at least 1s"},
		{outside("--leader-elect-resource-lock", "file"), `--leader-elect-resource-lock is "file"; it may be leases, configmaps, secrets or store, or two of them such as leases,configmaps`},
		{outside("--leader-elect-resource-lock", "store,"), `--leader-elect-resource-lock is "store,"; it may be leases, configmaps, secrets or store, or two of them such as leases,configmaps`},
		{outside("--leader-elect-resource-lock", "store,store"), `--leader-elect-resource-lock is "store,store"; it may name two different locks at most`},
		{outside("--leader-elect-resource-lock", "leases,secrets,store"), `--leader-elect-resource-lock is "leases,secrets,store"; it may name two different locks at most`},
		{outside("--elections", ""), `--elections names ""; a name may have up to 20 lower-case letters, digits and hyphens, and no hyphen at its ends`},
		{outside("--elections", "writes,"), `--elections names ""; a name may have`},
		{outside("--elections", "writes,Jobs"), `--elections names "Jobs"; a name may have`},
		{outside("--elections", "writes,-jobs"), `--elections names "-jobs"; a name may have`},
		{outside("--elections", "writes,jobs/a"), `--elections names "jobs/a"; a name may have`},
		{outside("--elections", "writes, jobs"), `--elections names " jobs"; a name may have`},
		{outside("--elections", "writes,a23456789012345678901"), `--elections names "a23456789012345678901"; a name may have up to 20`},
		{outside("--elections", "writes,jobs,jobs"), "--elections names jobs twice; name each election once"},
		{outside("--elections", "jobs"), `--elections is "jobs"; writes must be among them: its leader writes the data`},
		{outside("--elections", "writes,a,b,c,d,e,f,g,h"), "--elections names 9; there may be 8 at most"},
		{
			outside("--elections", "writes,jobs", "--leader-elect-resource-lock", "leases", "--leader-elect-resource-namespace", "n", "--leader-elect-resource-name", strings.Repeat("x", 249)),
			"the lock of the election jobs would be named",
		},
		{
			outside("--leader-elect-resource-lock", "leases", "--leader-elect-resource-namespace", "n", "--leader-elect-resource-name", "Lease_hold"),
			`the lock of the election writes would be named "Lease_hold", which is no name of an object`,
		},

		{outside("--leader-elect-lease-duration", "5s"), "the flags --leader-elect-… do not fit together"},
	} {
		_, err := parseServe(c.args, io.Discard)
		var said bytes.Buffer
		code := exitCode(err, &said)
		if code != 2 || !strings.HasPrefix(said.String(), "server: "+c.want) || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%q:\nexit code %d, %q\nwant 2, \"server: %s…\"", c.args[len(outside()):], code, said.String(), c.want)
		}
		if strings.HasSuffix(c.want, help) && !strings.HasSuffix(said.String(), help+"\n") {
			t.Errorf("%q: %q does not end with %q", c.args[len(outside()):], said.String(), help)
		}
	}
}

func TestServeHelp(t *testing.T) {
	t.Parallel()
	var help, said bytes.Buffer
	_, err := parseServe([]string{"--help"}, &help)
	if code := exitCode(err, &said); code != 0 || said.Len() > 0 {
		t.Errorf("exit code %d, %q", code, said.String())
	}
	for _, want := range []string{"Flags of server serve:", "--quota-bytes int", "from 90 % of it on, writes that grow it are refused", "(default 1073741824)"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("the help does not say %q:\n%s", want, help.String())
		}
	}
}

// The same goes for the other command, with its own help.
func TestDemoFlagsThatAreWrong(t *testing.T) {
	t.Parallel()
	const help = `; "server demo --help" lists the flags`
	for arg, want := range map[string]string{
		"--twice":      "there is no flag --twice" + help,
		"--port=x":     `--port must be a whole number, not "x"` + help,
		"--once=maybe": `--once must be true or false, not "maybe"` + help,
		"more":         `"more" is not a flag` + help,
	} {
		_, err := parseDemo([]string{arg}, io.Discard)
		var said bytes.Buffer
		if code := exitCode(err, &said); code != 2 || said.String() != "server: "+want+"\n" {
			t.Errorf("%s: exit code %d, %q, want %q", arg, code, said.String(), want)
		}
	}
}
