package book_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
)

var bounds = book.Bounds{Repeats: 10, Age: 50 * time.Millisecond}

// honest is a run of two lives: 40 items that are in order, of which 8 are repeated as they may be.
func honest() *book.Record {
	b := book.New(book.Sink{Name: "a", Strict: true}, book.Sink{Name: "b"})
	for i := range 40 {
		life := i / 20
		tag := fmt.Sprintf("t%02d", i)
		told := book.Told{Tag: tag, Body: "body of " + tag, Request: fmt.Sprint("r", i/2), Answer: book.Durable, ID: fmt.Sprintf("id%02d", i), Life: life}
		got := book.Got{ID: told.ID, Body: told.Body, Taken: true, Life: life}
		b.Tell(told)
		for _, sink := range []string{"a", "b"} {
			got.Sink, got.Taken = sink, true
			b.Get(got)
		}
		if i%20 == 10 {
			told.Answer = book.Delivered
			b.Tell(told)
		}
		if i == 19 {
			b.End(time.Now())
		}
	}
	for i := 12; i < 20; i++ {
		b.Get(book.Got{Sink: "a", ID: fmt.Sprintf("id%02d", i), Body: fmt.Sprintf("body of t%02d", i), Taken: true, Life: 1})
	}
	return b.Record()
}

func TestHonestRunPasses(t *testing.T) {
	v := book.Check(honest(), bounds)
	if !v.OK() || v.Items != 40 || v.Acked != 40 || v.Repeats != 8 {
		t.Errorf("%v %v", v, v.Details)
	}
}

// Whatever goes wrong, the judge sees it, and says what it is.
func TestEveryWrongIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r *book.Record)
		count func(v *book.Verdict) int
		want  int
	}{
		"an acked item is missing at one receiver": {func(r *book.Record) {
			r.Got = slices.DeleteFunc(r.Got, func(g book.Got) bool { return g.Sink == "b" && g.ID == "id07" })
		}, lost, 1},
		"a failed attempt is no delivery":       {func(r *book.Record) { edit(r, "b", "id30", func(g *book.Got) { g.Taken = false }) }, lost, 1},
		"the ack came before the last receiver": {func(r *book.Record) { edit(r, "b", "id10", func(g *book.Got) { g.N += 5 }) }, early, 1},
		"an item comes again after its ack":     {func(r *book.Record) { again(r, "id10") }, early, 1},
		"a body was changed":                    {func(r *book.Record) { edit(r, "a", "id03", func(g *book.Got) { g.Body += "!" }) }, wrong, 1},
		"two items changed bodies": {func(r *book.Record) {
			edit(r, "a", "id03", func(g *book.Got) { g.Body = "body of t04" })
		}, wrong, 1},
		"an item has two ids": {func(r *book.Record) { edit(r, "a", "id03", func(g *book.Got) { g.ID = "id99" }) }, wrong, 1},
		"a refused item came": {func(r *book.Record) { r.Told[0].Answer = book.Refused }, wrong, 2},
		"half a request came": {func(r *book.Record) {
			for i := range r.Told {
				if r.Told[i].Request == "r2" {
					r.Told[i].Answer = book.Uncertain
				}
			}
			r.Got = slices.DeleteFunc(r.Got, func(g book.Got) bool { return g.ID == "id05" })
		}, wrong, 2},
		"a repeat within one life":           {func(r *book.Record) { again(r, "id30") }, beyond, 1},
		"a repeat of what was marked before": {func(r *book.Record) { r.Kills[0] = r.Kills[0].Add(time.Second) }, beyond, 8},
		"too many repeats": {func(r *book.Record) {
			for _, i := range []int{1, 2, 3, 4, 5} {
				again(r, fmt.Sprintf("id%02d", i))
			}
		}, beyond, 3},
		"the order is wrong": {func(r *book.Record) {
			edit(r, "a", "id20", func(g *book.Got) { g.N += 100 })
		}, order, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := honest().Clone()
			c.spoil(r)
			if v := book.Check(r, bounds); c.count(v) != c.want || v.OK() || len(v.Details) == 0 {
				t.Errorf("%v %q, want %d", v, v.Details, c.want)
			}
		})
	}
}

// Where the disk was damaged, what is lost must have been reported, and what comes must be right.
func TestWhatADamagedDiskCostIsHeldAgainstTheReport(t *testing.T) {
	without := honest()
	without.Got = slices.DeleteFunc(without.Got, func(g book.Got) bool { return g.ID == "id07" || g.ID == "id25" })
	for name, c := range map[string]struct {
		spoil    func(r *book.Record)
		reported int
		unknown  map[int]bool
		want     book.Verdict
	}{
		"all of it was reported":   {nil, 2, nil, book.Verdict{}},
		"one was not":              {nil, 1, nil, book.Verdict{Lost: 1}},
		"it was the end of a life": {nil, 1, map[int]bool{0: true}, book.Verdict{}},
		"of another one":           {nil, 0, map[int]bool{1: true}, book.Verdict{Lost: 1}},
		"repeats are no fault":     {func(r *book.Record) { again(r, "id10") }, 2, nil, book.Verdict{}},
		"a body was changed": {func(r *book.Record) { edit(r, "a", "id03", func(g *book.Got) { g.Body += "!" }) }, 3, nil,
			book.Verdict{Wrong: 1}},
		"the ack came before the last receiver": {func(r *book.Record) { edit(r, "b", "id10", func(g *book.Got) { g.N += 5 }) }, 2, nil,
			book.Verdict{Early: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := without.Clone()
			if c.spoil != nil {
				c.spoil(r)
			}
			v := book.CheckDamaged(r, c.reported, c.unknown)
			if v.Lost != c.want.Lost || v.Wrong != c.want.Wrong || v.Early != c.want.Early || v.OK() != (len(v.Details) == 0) || v.Acked != 40 {
				t.Errorf("%v %q, want %v", v, v.Details, &c.want)
			}
		})
	}
}

func lost(v *book.Verdict) int   { return v.Lost }
func early(v *book.Verdict) int  { return v.Early }
func wrong(v *book.Verdict) int  { return v.Wrong }
func beyond(v *book.Verdict) int { return v.Beyond }
func order(v *book.Verdict) int  { return v.Order }

// edit changes what a receiver saw of an item.
func edit(r *book.Record, sink, id string, change func(*book.Got)) {
	for i := range r.Got {
		if r.Got[i].Sink == sink && r.Got[i].ID == id {
			change(&r.Got[i])
			return
		}
	}
}

// again has an item taken once more by the first receiver, at the end.
func again(r *book.Record, id string) {
	i := slices.IndexFunc(r.Got, func(g book.Got) bool { return g.ID == id })
	g := r.Got[i]
	g.Life, g.N = 1, len(r.Got)+len(r.Told)+1
	r.Got = append(r.Got, g)
}
