package report

import (
	"testing"
	"time"
)

func ms(values ...int) (durations []time.Duration) {
	for _, v := range values {
		durations = append(durations, time.Duration(v)*time.Millisecond)
	}
	return durations
}

func hundred() (values []time.Duration) {
	for i := 100; i > 0; i-- {
		values = append(values, time.Duration(i)*time.Millisecond)
	}
	return values
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values  []time.Duration
		p, want int // the percentile, in ms
	}{
		{nil, 50, 0},
		{ms(7), 0, 7},
		{ms(7), 50, 7},
		{ms(7), 99, 7},
		{ms(3, 1), 50, 1},
		{ms(3, 1, 2), 50, 2},
		{ms(4, 3, 1, 2), 75, 3},
		{hundred(), 50, 50},
		{hundred(), 99, 99},
		{hundred(), 100, 100},
		{hundred()[:50], 99, 100},
	} {
		if got := Percentile(test.values, test.p); got != ms(test.want)[0] {
			t.Errorf("percentile %d of %v is %s, want %d ms", test.p, test.values, got, test.want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		1400 * time.Microsecond: "1 ms", 250 * time.Millisecond: "250 ms", 1234 * time.Millisecond: "1.23 s", 15600 * time.Millisecond: "15.6 s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}

func TestPlotStaysOnItsAxis(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, time.Millisecond, time.Second, time.Hour} {
		if at := x(d); at < plotLeft || at > plotRight {
			t.Errorf("%s is at %g", d, at)
		}
	}
	if x(time.Second) <= x(100*time.Millisecond) {
		t.Error("longer is not to the right")
	}
}

func TestDefaultOf(t *testing.T) {
	t.Parallel()
	const help = `Flags of server serve:
      --write-wait duration              how long a write waits; 1s to 30s (default 10s)
      --etcd-election-timeout duration   etcd's (its own) election timeout (default 1s)
      --data-dir string                  folder for the data (required)
`
	for flag, want := range map[string]string{"write-wait": "10s", "etcd-election-timeout": "1s", "data-dir": "unknown", "write": "unknown"} {
		if got := DefaultOf(help, flag); got != want {
			t.Errorf("%s: %q, want %q", flag, got, want)
		}
	}
}
