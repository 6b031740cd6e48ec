//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// the cluster under test. The cases change it, so they run one after another.
var set *statefulSet

func TestMain(m *testing.M) {
	probeURL := flag.String("probe", "", "do not test: write to this replica for a while and print what became of it")
	probeFor := flag.Duration("probe-for", 10*time.Second, "how long to probe")
	flag.Parse()
	if *probeURL != "" {
		probe(*probeURL, *probeFor, os.Stdout)
		return
	}
	config, err := clusterConfig()
	if err != nil {
		fmt.Printf("e2e: skipped: %v\n", err)
		return
	}
	os.Exit(runAll(m, config))
}

// clusterConfig finds the cluster as kubectl does: by $KUBECONFIG, or from inside a pod.
func clusterConfig() (*rest.Config, error) {
	if os.Getenv("KUBECONFIG") != "" {
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("no cluster to test on; set KUBECONFIG")
	}
	return config, err
}

func runAll(m *testing.M, config *rest.Config) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s, err := newStatefulSet(config)
	if err == nil {
		err = s.deploy(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: deploy: %v\n", err)
		return 1
	}
	set = s
	code := m.Run()
	if !s.owned && len(results.rows) == 0 {
		fmt.Fprintln(os.Stderr, "e2e: no test has run")
		code = 1
	}
	if err := results.print(os.Stdout, os.Getenv("E2E_TABLE")); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: write the table: %v\n", err)
		code = 1
	}
	if code == 0 { // what went wrong may be looked at
		s.takeDown()
	}
	return code
}
