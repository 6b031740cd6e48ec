package election

import (
	"strings"
	"testing"
	"time"
)

func TestTimingsThatAreTooTightAreRefused(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		timing Timing
		want   string // "" if valid
	}{
		"client-go's":               {DefaultTiming, ""},
		"the tightest":              {Timing{2 * time.Second, 600 * ms, 200 * ms}, ""},
		"exactly the rule":          {Timing{5 * time.Second, 2 * time.Second, time.Second}, ""},
		"nothing set":               {Timing{}, "retry period"},
		"a negative retry period":   {Timing{15 * time.Second, 10 * time.Second, -1}, "retry period"},
		"one try per deadline":      {Timing{15 * time.Second, 3 * time.Second, 2 * time.Second}, "renew deadline"},
		"a fraction of a second":    {Timing{15500 * ms, 10 * time.Second, 2 * time.Second}, "whole seconds"},
		"less than a second":        {Timing{900 * ms, 300 * ms, 100 * ms}, "whole seconds"},
		"client-go would take it":   {Timing{14 * time.Second, 10 * time.Second, 2 * time.Second}, "lease duration"},
		"the deadline is the lease": {Timing{15 * time.Second, 15 * time.Second, time.Second}, "lease duration"},
		"a negative lease":          {Timing{-time.Second, 300 * ms, 100 * ms}, "lease duration"},
	} {
		err := tt.timing.Validate()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want something about the %s", name, err, tt.want)
		}
		if _, newErr := New(Config{Timing: tt.timing}); tt.want != "" && newErr == nil {
			t.Errorf("%s: New takes it", name)
		}
	}
}
