package sinks_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/sinks"
)

func bodies(bodies ...string) []sinks.Item {
	items := make([]sinks.Item, len(bodies))
	for i, b := range bodies {
		items[i].Body = []byte(b)
	}
	return items
}

func TestGroupsKeepTheOrderAndJoinOnlyLines(t *testing.T) {
	for _, lines := range []bool{false, true} {
		want := [][]string{{"a"}, {"b"}, {""}, {"two\nlines"}, {"c\r"}, {"c"}, {"\xffd"}}
		if lines {
			want = [][]string{{"a", "b"}, {""}, {"two\nlines"}, {"c\r"}, {"c", "\xffd"}}
		}
		var got [][]string
		for _, group := range sinks.Groups(bodies("a", "b", "", "two\nlines", "c\r", "c", "\xffd"), lines) {
			var g []string
			for i := range group {
				g = append(g, string(group[i].Body))
			}
			got = append(got, g)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("groups, lines %t (-want +got):\n%s", lines, diff)
		}
	}
}

func TestInTurnGoesOnAfterWhatIsFinalAndStopsAtWhatMayComeAgain(t *testing.T) {
	failed, untried := errors.New("failed"), sinks.Unavailable(errors.New("untried"))
	permanent, shared := sinks.Permanent(failed), &sinks.SharedError{Err: failed}
	for _, c := range []struct {
		results []error
		tried   int
		want    error
	}{
		{nil, 0, nil},
		{[]error{nil}, 1, nil},
		{[]error{permanent}, 1, permanent},
		{[]error{nil, nil}, 2, nil},
		{[]error{nil, permanent, nil}, 3, &sinks.BatchError{Errs: []error{nil, nil, permanent, permanent, nil, nil}}},
		{[]error{permanent, failed, nil}, 2, &sinks.BatchError{Errs: []error{permanent, permanent, shared, shared, untried, untried}}},
		{[]error{sinks.Gone(failed), nil}, 1, &sinks.BatchError{Errs: []error{sinks.Gone(failed), sinks.Gone(failed), untried, untried}}},
	} {
		var groups [][]sinks.Item
		for range c.results {
			groups = append(groups, bodies("a", "b"))
		}
		tried := 0
		err := sinks.InTurn(groups, func([]sinks.Item) error { tried++; return c.results[tried-1] }, untried)
		if diff := cmp.Diff(c.want, err, cmp.Comparer(sameError)); diff != "" || tried != c.tried {
			t.Errorf("%v: tried %d (-want +got):\n%s", c.results, tried, diff)
		}
	}
}

func sameError(a, b error) bool {
	var x, y *sinks.BatchError
	if errors.As(a, &x) && errors.As(b, &y) {
		return cmp.Equal(x.Errs, y.Errs, cmp.Comparer(sameError))
	}
	return a == b || a != nil && b != nil && a.Error() == b.Error()
}
