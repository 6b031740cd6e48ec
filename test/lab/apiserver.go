package lab

import (
	"path/filepath"

	"github.com/leasehold/leasehold/internal/leasetest"
)

// Where the stand-in has the Lease.
const (
	Namespace = "default"
	Lease     = "leasehold"
)

// APIServer is a stand-in for the Kubernetes API server, in this process.
type APIServer struct {
	*leasetest.Server
	// Kubeconfig is the path of a file that says where it is.
	Kubeconfig string
}

// StartAPIServer starts it at the site, and puts its kubeconfig into the folder.
func StartAPIServer(s Site, dir string) (*APIServer, error) {
	server, err := leasetest.Start(s.api)
	if err != nil {
		return nil, err
	}
	a := &APIServer{server, filepath.Join(dir, "kubeconfig")}
	if err := server.WriteKubeconfig(a.Kubeconfig); err != nil {
		server.Close()
		return nil, err
	}
	return a, nil
}
