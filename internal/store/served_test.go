package store

import (
	"fmt"
	"testing"
	"time"
)

func TestALeaderRecordSurvivesItsEncoding(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		want Leader
	}{
		"of before reasons": {
			`{"pod":"leasehold-0","boot_id":"b","claim_id":"b/1","epoch":3,"since":"2026-01-02T03:04:05Z","resigned":true}`,
			Leader{Resigned: true},
		},
		"of a later version": {
			`{"pod":"leasehold-0","boot_id":"b","claim_id":"b/1","epoch":3,"since":"2026-01-02T03:04:05Z","mood":"good"}`,
			Leader{},
		},
		"handed over": {
			`{"pod":"leasehold-0","boot_id":"b","claim_id":"b/1","epoch":3,"since":"2026-01-02T03:04:05Z","resigned":true,"reason":"transfer","successor":"leasehold-2","held_ms":51}`,
			Leader{Resigned: true, Reason: "transfer", Successor: "leasehold-2", HeldMS: 51},
		},
	} {
		want := test.want
		want.Pod, want.BootID, want.ClaimID, want.Epoch, want.Revision = "leasehold-0", "b", "b/1", 3, 9
		want.Since = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		got, err := decodeLeader([]byte(test.text), 9)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
		if again, err := decodeLeader([]byte(got.encode()), 9); err != nil || again != want {
			t.Errorf("%s: %+v, %v after encoding it again", name, again, err)
		}
	}
}

func TestAResignationSaysWhyAndWhoIsNext(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	term := a.lead()
	a.apply(request(put("k", "1")))
	if err := term.Pause(testContext(t), func() { time.Sleep(20 * time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	if err := term.Resign(testContext(t), "transfer", "leasehold-1"); err != nil {
		t.Fatal(err)
	}
	l := b.record()
	if !l.Resigned || l.Reason != "transfer" || l.Successor != "leasehold-1" || l.HeldMS < 20 {
		t.Errorf("%+v", l)
	}
	// The next claim says nothing of that any more, and one that is given up without having led was not held.
	b.lead()
	if l := b.record(); l.Resigned || l.Reason != "" || l.Successor != "" || l.HeldMS != 0 {
		t.Errorf("a claim after it: %+v", l)
	}
	if err := b.ResignClaim(testContext(t), b.record().ClaimID, "resigned"); err != nil {
		t.Fatal(err)
	}
	if l := b.record(); l.Reason != "resigned" || l.HeldMS != 0 {
		t.Errorf("a claim that was given up: %+v", l)
	}
}

// gap expects the gap of a term to be known, and not shorter than least.
func (r *replica) gap(term *Term, least, most time.Duration) {
	r.t.Helper()
	gap, known := term.Gap()
	if !known || gap < least || gap > most {
		r.t.Errorf("the gap before epoch %d is %s (known: %t), want %s to %s", term.Epoch(), gap, known, least, most)
	}
}

func (r *replica) hasSeen(revision int64) {
	r.t.Helper()
	eventually(r.t, func() error {
		if reached := r.Reached(); reached < revision {
			return fmt.Errorf("%s has reached %d, not %d", r.name, reached, revision)
		}
		return nil
	})
}

func TestATermKnowsForHowLongWritesWaited(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, _ := c.trio()
	first := a.lead()
	if gap, known := first.Gap(); known {
		t.Errorf("the first leader's gap is %s", gap)
	}
	last := a.apply(request(put("k", "1")))
	b.hasSeen(last.Revision)
	const silence = 50 * time.Millisecond
	time.Sleep(silence)
	second := b.lead() // a has not resigned
	b.gap(second, silence, 10*time.Second)

	// After a resignation the term's own clock tells since when: it was idle before.
	b.apply(request(put("k", "2")))
	start := time.Now()
	time.Sleep(silence)
	if err := second.Resign(testContext(t), "graceful", ""); err != nil {
		t.Fatal(err)
	}
	third := a.lead()
	a.gap(third, 0, time.Since(start)-silence+2*time.Millisecond)

	// A claim that never led has served nobody.
	end := time.Now()
	if err := a.ResignClaim(testContext(t), a.record().ClaimID, "resigned"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(silence)
	fourth := b.lead()
	b.gap(fourth, silence, time.Since(end)+10*time.Second)

	// Who starts later cannot know.
	late := c.replica("leasehold-9")
	if gap, known := late.lead().Gap(); known {
		t.Errorf("of a replica that has seen nothing: %s", gap)
	}
}
