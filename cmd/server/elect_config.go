package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/leasehold/leasehold/internal/election"
)

// electConfig is what the flags of "server elect" say.
type electConfig struct {
	name         string
	podNamespace string

	lease     string
	namespace string // of the Lease
	timing    election.Timing

	http  string
	file  string
	exec  string
	args  []string // of exec
	grace time.Duration
	label bool

	logLevel, logFormat string
}

func (c *electConfig) flags() *pflag.FlagSet {
	f := newFlagSet("elect")
	f.StringVar(&c.name, "name", os.Getenv("POD_NAME"), "who this is (default $POD_NAME, or else the host's name)")
	f.StringVar(&c.podNamespace, "namespace", os.Getenv("POD_NAMESPACE"), "Kubernetes namespace (default $POD_NAMESPACE)")

	f.StringVar(&c.http, "http", "", "address at which to say who leads, such as 127.0.0.1:4040: GET /, /leader and /events")
	f.StringVar(&c.file, "file", "", "file to keep with who leads, in JSON")
	f.StringVar(&c.exec, "exec", "", "program to run while this process leads; its arguments follow after --")
	f.DurationVar(&c.grace, "exec-grace-period", 10*time.Second, "how long the program has to end after SIGTERM, before SIGKILL; less where the Lease would run out")
	f.BoolVar(&c.label, "label", false, "label the pods of this StatefulSet with their role, leasehold.dev/role")

	f.StringVar(&c.lease, "leader-elect-resource-name", "", "name of the Lease (required); every election has its own")
	f.StringVar(&c.namespace, "leader-elect-resource-namespace", "", "namespace of the Lease (default --namespace)")
	f.DurationVar(&c.timing.LeaseDuration, "leader-elect-lease-duration", election.DefaultTiming.LeaseDuration, "how long the others wait for a silent holder; whole seconds, and the same for all")
	f.DurationVar(&c.timing.RenewDeadline, "leader-elect-renew-deadline", election.DefaultTiming.RenewDeadline, "how long a holder tries to renew before it gives up")
	f.DurationVar(&c.timing.RetryPeriod, "leader-elect-retry-period", election.DefaultTiming.RetryPeriod, "pause between tries")

	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "json", "json or console")
	return f
}

func parseElect(args []string, stdout io.Writer) (electConfig, error) {
	var c electConfig
	before, after, dashed := cutDash(args)
	if err := parse(c.flags(), before, stdout); err != nil {
		return electConfig{}, err
	}
	c.args = after
	if dashed && c.exec == "" {
		return electConfig{}, usageError{errors.New("what follows after -- are the arguments of a program: name it, with --exec")}
	}
	if err := c.setDefaults(); err != nil {
		return electConfig{}, err
	}
	if err := c.validate(); err != nil {
		return electConfig{}, usageError{err}
	}
	return c, nil
}

// cutDash parts the arguments at the first "--".
func cutDash(args []string) (before, after []string, found bool) {
	for i, arg := range args {
		if arg == "--" {
			return args[:i], args[i+1:], true
		}
	}
	return args, nil, false
}

func (c *electConfig) setDefaults() error {
	if c.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find the host's name: %w; name this process, with --name", err)
		}
		c.name = host
	}
	c.namespace = cmp.Or(c.namespace, c.podNamespace)
	return nil
}

// validate returns the first thing that is wrong, and what to do about it.
func (c *electConfig) validate() error {
	if len(validation.IsDNS1123Subdomain(c.name)) > 0 {
		return fmt.Errorf("--name is %q; it must be a name such as a pod's: lower case letters, digits, dots and hyphens", c.name)
	}
	if c.lease == "" {
		return errors.New("name the Lease on which the election is held, with --leader-elect-resource-name")
	}
	if len(validation.IsDNS1123Subdomain(c.lease)) > 0 {
		return fmt.Errorf("--leader-elect-resource-name is %q; it must be lower case letters, digits, dots and hyphens", c.lease)
	}
	if c.namespace == "" {
		return errors.New("name the namespace of the Lease, with --leader-elect-resource-namespace, --namespace or $POD_NAMESPACE")
	}
	if err := c.timing.Validate(); err != nil {
		return fmt.Errorf("the flags --leader-elect-… do not fit together: %w", err)
	}
	return c.validateUses()
}

// validateUses checks what the election is for.
func (c *electConfig) validateUses() error {
	if c.http == "" && c.file == "" && c.exec == "" && !c.label {
		return errors.New("say what the election is for, with one or more of --http, --file, --exec and --label")
	}
	if c.http != "" {
		if _, _, err := net.SplitHostPort(c.http); err != nil {
			return fmt.Errorf("--http is %q; it must be HOST:PORT or :PORT", c.http)
		}
	}
	if c.file != "" && (filepath.Base(c.file) == "." || c.file[len(c.file)-1] == '/') {
		return fmt.Errorf("--file is %q; it must name a file, in a folder that is there", c.file)
	}
	if c.exec != "" {
		if _, err := exec.LookPath(c.exec); err != nil {
			return fmt.Errorf("--exec is %q, which is no program here (%w); give a path, or a name that is on the $PATH", c.exec, err)
		}
	}
	if c.grace < 0 {
		return fmt.Errorf("--exec-grace-period is %s; it must not be negative", c.grace)
	}
	if c.label && (!podName.MatchString(c.name) || c.podNamespace == "") {
		return fmt.Errorf("--label is for the pods of a StatefulSet: --name (%q) must be the name of a set and a number, such as worker-0, and --namespace be given", c.name)
	}
	return nil
}
