//go:build !linux

package lab

import (
	"errors"
	"os"
	"syscall"
)

// CanFreeze tells whether Freeze and Thaw do anything here.
const CanFreeze = false

func childAttributes(syscall.Signal) *syscall.SysProcAttr { return nil }

// Freeze sends SIGSTOP.
func Freeze(*os.Process) error { return errors.ErrUnsupported }

// Thaw sends SIGCONT.
func Thaw(*os.Process) error { return errors.ErrUnsupported }
