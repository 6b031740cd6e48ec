//go:build !linux

package main

import (
	"errors"
	"os"
	"syscall"
)

const canFreeze = false

func childAttributes(syscall.Signal) *syscall.SysProcAttr { return nil }

func freeze(*os.Process) error { return errors.ErrUnsupported }
func thaw(*os.Process) error   { return errors.ErrUnsupported }
