//go:build !linux

package lab

import (
	"context"
	"errors"
	"net"
)

func dialIn(context.Context, string, string) (net.Conn, error) { return nil, errors.ErrUnsupported }
