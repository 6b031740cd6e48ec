package main

import (
	"context"
	"io"
)

type demoConfig struct{}

func parseDemo([]string, io.Writer) (demoConfig, error)    { return demoConfig{}, nil }
func runDemo(context.Context, demoConfig, io.Writer) error { return nil }
