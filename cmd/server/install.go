package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// install copies this program to a path, for a container of another image to run it: this image has no cp.
func install(args []string) error {
	if len(args) != 1 || args[0] == "" || args[0][0] == '-' {
		return usageError{errors.New(`say where to, and nothing else: "server install /shared/server"`)}
	}
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := copyProgram(own, args[0]); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	return nil
}

// copyProgram has whoever looks find no program, or all of it.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	next := to + ".next"
	out, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(next, to)
}
