package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"holdfast/queue"
	"holdfast/sinks"
)

// Guarantees C1, C3, D2, in part: the texts.
func TestOutcomeFollowsTheTable(t *testing.T) {
	closed, opened := ruling{spent: true}, ruling{delay: 7 * time.Second}
	for _, tt := range []struct {
		name  string
		err   error
		spent int
		rule  ruling
		want  queue.Outcome
	}{
		{"nil", nil, 2, closed, queue.Outcome{Kind: queue.Done}},
		{"nil while open", nil, 2, opened, queue.Outcome{Kind: queue.Done}},
		{"first failure", errTest, 0, closed, queue.Outcome{Kind: queue.Retry, After: 100 * time.Millisecond, Err: "delivery failed: no luck"}},
		{"third failure", errTest, 2, closed, queue.Outcome{Kind: queue.Retry, After: 400 * time.Millisecond, Err: "delivery failed: no luck"}},
		{"last failure", errTest, 3, closed, queue.Outcome{Kind: queue.Bury, Err: "delivery failed: no luck"}},
		{"failure while open", errTest, 3, opened, queue.Outcome{Kind: queue.Hold, After: 7 * time.Second, Err: "delivery failed: no luck"}},
		{"permanent", sinks.Permanent(errTest), 0, closed, queue.Outcome{Kind: queue.Bury, Permanent: true, Err: "delivery failed: permanent: no luck"}},
		{"permanent while open", sinks.Permanent(errTest), 9, opened, queue.Outcome{Kind: queue.Bury, Permanent: true, Err: "delivery failed: permanent: no luck"}},
		{"wrapped permanent", fmt.Errorf("post: %w", sinks.Permanent(errTest)), 0, closed, queue.Outcome{Kind: queue.Bury, Permanent: true, Err: "delivery failed: permanent: post: no luck"}},
		{"unavailable, no attempt left", sinks.Unavailable(errTest), 3, opened, queue.Outcome{Kind: queue.Hold, After: 7 * time.Second, Err: "delivery failed: no luck"}},
		{"gone", sinks.Gone(errTest), 3, closed, queue.Outcome{Kind: queue.Hold, Err: "delivery failed: no luck"}},
		{"unknown verdict is plain", &sinks.Error{Verdict: 99, Err: errTest}, 3, closed, queue.Outcome{Kind: queue.Bury, Err: "delivery failed: no luck"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, _ := classify(tt.err, failed)
			if diff := cmp.Diff(tt.want, exact.decide(res, tt.err, tt.spent, tt.rule, 0.5)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlainErrorsAreTold(t *testing.T) {
	late, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want result
	}{
		{t.Context(), errTest, failed},
		{t.Context(), context.DeadlineExceeded, failed},
		{late, errTest, timedOut},
		{late, &panicError{value: "oh"}, panicked},
	} {
		if got := plainKind(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, resultNames[got], resultNames[tt.want])
		}
	}
}

func TestBatchIsSplitOnlyWhereTheSinkSpokeOfEachItem(t *testing.T) {
	partial := &sinks.BatchError{Errs: []error{nil, errTest}}
	for _, tt := range []struct {
		err  error
		n    int
		want int
	}{
		{partial, 2, 2},
		{fmt.Errorf("bulk: %w", partial), 2, 2},
		{partial, 3, 0},
		{sinks.Unavailable(partial), 2, 0},
		{errTest, 2, 0},
	} {
		if got := split(tt.err, tt.n); len(got) != tt.want {
			t.Errorf("%v of %d: %d errors, want %d", tt.err, tt.n, len(got), tt.want)
		}
	}
}

// Guarantee C4, in part: what a batch says of its destination.
func TestVerdictOfABatchIsTheWorstThatWasSaidOfTheDestination(t *testing.T) {
	plain, never := errTest, sinks.Permanent(errTest)
	away, later, gonely := sinks.Unavailable(errTest), sinks.RetryAfter(time.Minute, errTest), sinks.Gone(errTest)
	for _, tt := range []struct {
		each  []error
		want  result
		after time.Duration
		id    int
	}{
		{[]error{plain, plain}, failed, 0, 0},
		{[]error{nil, plain}, delivered, 0, 1},
		{[]error{plain, nil, plain}, delivered, 0, 0},
		{[]error{plain, never}, permanent, 0, 1},
		{[]error{never, nil}, permanent, 0, 0},
		{[]error{nil, away, plain}, unavailable, 0, 1},
		{[]error{never, later, nil}, unavailable, time.Minute, 1},
		{[]error{away, gonely}, gone, 0, 1},
	} {
		a := attempt{err: errTest, kind: failed}
		for i := range tt.each {
			a.deliveries = append(a.deliveries, queue.Delivery{ID: itemID(i)})
		}
		if v := a.verdict(tt.each); v.result != tt.want || v.after != tt.after || v.id != itemID(tt.id) {
			t.Errorf("%v: %s, after %v, item %v; want %s, %v, %d", tt.each, resultNames[v.result], v.after, v.id, resultNames[tt.want], tt.after, tt.id)
		}
	}
}

// Guarantee D2, in part: a text that is too long or no text.
func TestReasonIsBoundedText(t *testing.T) {
	for _, s := range []string{strings.Repeat("é", 2000), strings.Repeat("a", 1007) + "é", "\xff\xfe", strings.Repeat("\xff", 3000)} {
		got := reason(errors.New(s), false)
		if len(got) > maxReason || !utf8.ValidString(got) || !strings.HasPrefix(got, "delivery failed: ") {
			t.Errorf("%.20q…: %d bytes, valid %v: %.40q…", s, len(got), utf8.ValidString(got), got)
		}
	}
	if s := strings.Repeat("a", maxReason-len("delivery failed: ")); reason(errors.New(s), false) != "delivery failed: "+s {
		t.Error("a text that fits was cut")
	}
}
