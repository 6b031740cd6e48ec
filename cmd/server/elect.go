package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leasehold/leasehold/internal/role"
	"github.com/leasehold/leasehold/internal/sidecar"
)

// electServer has room for a program that asks all the time, and for streams of events.
var electServer = serverLimits{read: 30 * time.Second, write: time.Minute, idle: 2 * time.Minute, connections: 256}

// elect holds an election without a store until ctx is done.
func elect(ctx context.Context, cfg electConfig) error {
	log, err := newLogger(cfg.logLevel, cfg.logFormat)
	if err != nil {
		return usageError{err}
	}
	defer func() { _ = log.Sync() }() // standard error may not support it
	adoptGlobalLoggers(log)
	kube, err := connectKubernetes(serveConfig{lock: lockLeases, name: cfg.name, leaseNamespace: cfg.namespace, timing: cfg.timing})
	if err != nil {
		return err
	}
	defer kube.close()
	s, err := newSidecar(ctx, cfg, kube, log.Named(cfg.name))
	if err != nil {
		return err
	}
	return runSidecar(ctx, cfg, s, kube, log.Named(cfg.name))
}

func newSidecar(ctx context.Context, cfg electConfig, kube *kubernetesClients, log *zap.Logger) (*sidecar.Sidecar, error) {
	var command sidecar.Command
	if cfg.exec != "" {
		program, err := sidecar.NewProgram(context.WithoutCancel(ctx), cfg.exec, cfg.args, cfg.name)
		if err != nil {
			return nil, err
		}
		command = program
	}
	return sidecar.New(sidecar.Config{
		Pod: cfg.name, BootID: newBootID(), Namespace: cfg.namespace, Lease: cfg.lease, Timing: cfg.timing,
		Leases: kube.requests.CoordinationV1(), Watches: kube.watches.CoordinationV1(), Events: kube.events,
		Command: command, Grace: cfg.grace, File: cfg.file, Log: log, Metrics: newRegistry(),
	})
}

// runSidecar serves, labels and campaigns until ctx is done or the port fails, and stops in good order: when the
// listener closes, the command has ended and the Lease is released.
func runSidecar(ctx context.Context, cfg electConfig, s *sidecar.Sidecar, kube *kubernetesClients, log *zap.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	if cfg.http != "" {
		closing := make(chan struct{})
		l, err := listen(cfg.http, s.Handler(closing), electServer, failed)
		if err != nil {
			return err
		}
		defer l.close()
		defer close(closing)
		log.Info("serving", zap.String("http", l.address()))
	}
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	if cfg.label {
		helpers.Go(func() { newSidecarRoles(cfg, s, kube, log).Run(ctx) })
	}
	broken := make(chan error, 1)
	helpers.Go(func() {
		select {
		case err := <-failed:
			broken <- err
			stop()
		case <-ctx.Done():
			broken <- nil
		}
	})
	err := s.Run(ctx)
	stop()
	return errors.Join(<-broken, err)
}

// newSidecarRoles makes what labels the pods of the StatefulSet.
func newSidecarRoles(cfg electConfig, s *sidecar.Sidecar, kube *kubernetesClients, log *zap.Logger) *role.Labeler {
	set := (&serveConfig{name: cfg.name}).set()
	return role.New(role.Config{
		Pod: cfg.name, Name: func(ordinal int) string { return fmt.Sprintf("%s-%d", set, ordinal) },
		Pods: kube.requests.CoreV1().Pods(cfg.podNamespace),
		Replicas: func(ctx context.Context) (int, error) {
			found, err := kube.requests.AppsV1().StatefulSets(cfg.podNamespace).Get(ctx, set, metav1.GetOptions{})
			if err != nil {
				return 0, fmt.Errorf("read StatefulSet %s: %w", set, err)
			}
			if found.Spec.Replicas == nil {
				return 1, nil
			}
			return int(*found.Spec.Replicas), nil
		},
		Term: termOf(s.Election()), Cluster: cfg.lease, Log: log.Named("role"),
	})
}
