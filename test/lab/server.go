package lab

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Server is the absolute path of the server to run, which is built where none is named.
func Server(ctx context.Context, named string) (string, error) {
	path, err := filepath.Abs(named)
	if named != "" || err != nil {
		return path, err
	}
	if path, err = filepath.Abs(filepath.Join("bin", "server")); err != nil {
		return "", err
	}
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/server").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w: %s; run this from the top of the repository, or name a server with -server", err, text)
	}
	return path, nil
}
