package check

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

func TestWhatIsSavedIsLoaded(t *testing.T) {
	t.Parallel()
	h, f := told()
	h.Log.Gaps = []Gap{{2, 3}}
	var file bytes.Buffer
	if err := Save(&file, h, f); err != nil {
		t.Fatal(err)
	}
	whole := file.Bytes()
	gotH, gotF, err := Load(bytes.NewReader(whole))
	if err != nil || !reflect.DeepEqual(gotH, h) || !reflect.DeepEqual(gotF, f) {
		t.Errorf("%v: %+v, %+v", err, gotH, gotF)
	}
	for _, part := range [][]byte{nil, whole[:len(whole)/2], bytes.TrimSpace(whole)[:bytes.LastIndexByte(bytes.TrimSpace(whole), '\n')]} {
		if _, _, err := Load(bytes.NewReader(part)); err == nil {
			t.Errorf("%d of %d bytes are taken for all", len(part), len(whole))
		}
	}
}

func TestWhatWasNotWatchedStaysSo(t *testing.T) {
	t.Parallel()
	h, f := told()
	h.Log = nil
	var file bytes.Buffer
	if err := Save(&file, h, f); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Load(&file); err != nil || got.Log != nil {
		t.Errorf("%v, %v", got.Log, err)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	at := func(ms int, kind Kind, outcome Outcome, attempts int) Op {
		return Op{Kind: kind, Outcome: outcome, Attempts: attempts, End: time.Duration(ms) * time.Millisecond}
	}
	ops := []Op{
		at(50, Put, Applied, 9), at(200, Put, Applied, 2), at(150, Create, Applied, 1), at(900, Batch, Applied, 1),
		at(300, Put, Refused, 1), at(310, Put, Unknown, 3), at(320, Put, NotApplied, 1), at(330, Read, NotApplied, 1),
		at(400, Read, Applied, 1), at(1200, Put, Applied, 1),
	}
	want := Measures{
		Acknowledged: 3, PerSecond: 3, LongestGap: 700 * time.Millisecond, Failed: 1, Unknown: 1, Refused: 1, Unread: 1, Retried: 3,
	}
	second := 100 * time.Millisecond
	if got := Measure(ops, second, second+time.Second); got != want {
		t.Errorf("%+v; want %+v", got, want)
	}
	if got := Measure(nil, 0, time.Second); got.LongestGap != time.Second {
		t.Errorf("without operations: %+v", got)
	}
}
