package main

import (
	"context"
	"errors"
	"time"

	"github.com/leasehold/leasehold/internal/leasetest"
)

func apiFaults() []fault {
	return []fault{
		{"api-refused", "the API server refuses connections", outage(leasetest.Refused)},
		{"api-503", "the API server answers 503", outage(leasetest.Unavailable)},
		{"api-silent", "the API server answers nothing", outage(leasetest.BlackHole)},
		{"api-slow", "the API server takes 3 s for each answer", outage(leasetest.Slow)},
		{"api-conflict", "the API server answers every update with 409", outage(leasetest.Conflict)},
	}
}

// outage lasts longer than a Lease.
func outage(mode leasetest.Mode) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		s.target = "API server"
		err := s.api.Set(mode)
		if err == nil {
			s.hold(ctx, 18*time.Second, 25*time.Second)
		}
		return errors.Join(err, s.api.Set(leasetest.Up))
	}
}
