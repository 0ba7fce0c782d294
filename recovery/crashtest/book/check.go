package book

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Bounds are what a kill may cost at most.
type Bounds struct {
	Repeats int           // per sink and kill
	Age     time.Duration // what was taken longer than this before the kill is not repeated
}

// A Verdict counts what is wrong with a Record, and what is not. Everything but the first three has to be zero.
type Verdict struct {
	Items   int // that producers sent
	Acked   int // of them stored for sure
	Repeats int // that the bounds allow

	Lost    int // acked, and some receiver never took it
	Early   int // acks of a delivery that was not complete, or was repeated by a later process
	Wrong   int // bodies that nobody sent under that id; ids that changed; what was refused and came; half requests
	Beyond  int // repeats that the bounds do not allow
	Order   int // of a strict sink
	Details []string
}

// OK reports whether nothing is wrong.
func (v *Verdict) OK() bool { return v.Lost+v.Early+v.Wrong+v.Beyond+v.Order == 0 }

func (v *Verdict) String() string {
	return fmt.Sprintf("items %d, lost %d, early acks %d, wrong %d, repeats %d, beyond the bounds %d, out of order %d",
		v.Items, v.Lost, v.Early, v.Wrong, v.Repeats, v.Beyond, v.Order)
}

// note counts and explains; of each kind only the first explanations are kept.
func (v *Verdict) note(count *int, format string, args ...any) {
	if *count++; *count <= 5 {
		v.Details = append(v.Details, fmt.Sprintf(format, args...))
	}
}

// Check judges a record of which everything has been delivered that ever will be.
func Check(r *Record, b Bounds) *Verdict {
	c := &check{r: r, b: b, items: map[string]*item{}, byBody: map[string]*item{}, taken: map[delivery][]Got{}}
	c.readTold()
	c.readGot()
	c.v.Items = len(c.items)
	for _, tag := range c.order {
		c.item(c.items[tag])
	}
	c.requests()
	c.repeats()
	for _, s := range r.Sinks {
		if s.Strict {
			c.strict(s.Name)
		}
	}
	return &c.v
}

type check struct {
	r *Record
	b Bounds
	v Verdict

	items  map[string]*item // by tag
	order  []string         // their tags
	byBody map[string]*item
	taken  map[delivery][]Got
}

// An item is what all answers about it say together.
type item struct {
	tag, body, request string
	best               Answer
	acks               []Told // Delivered
	ids                []string
	refused            bool // at least once, and never anything else
}

type delivery struct{ sink, id string }

func (c *check) readTold() {
	for _, t := range c.r.Told {
		it := c.items[t.Tag]
		if it == nil {
			it = &item{tag: t.Tag, body: t.Body, request: t.Request, refused: true}
			c.items[t.Tag], c.byBody[t.Body] = it, it
			c.order = append(c.order, t.Tag)
		}
		it.best, it.refused = max(it.best, t.Answer), it.refused && t.Answer == Refused
		it.named(t.ID)
		if t.Answer == Delivered {
			it.acks = append(it.acks, t)
		}
	}
}

func (it *item) named(id string) {
	if id != "" && !slices.Contains(it.ids, id) {
		it.ids = append(it.ids, id)
	}
}

// readGot takes in what came: each body has to be one that was sent.
func (c *check) readGot() {
	for _, g := range c.r.Got {
		it := c.byBody[g.Body]
		switch {
		case it == nil:
			c.v.note(&c.v.Wrong, "%s got %s with a body that nobody sent: %.60q", g.Sink, g.ID, g.Body)
			continue
		case it.refused:
			c.v.note(&c.v.Wrong, "%s got %s, which was refused", g.Sink, it.tag)
		}
		it.named(g.ID)
		if g.Taken {
			d := delivery{g.Sink, g.ID}
			c.taken[d] = append(c.taken[d], g)
		}
	}
}

// item looks at one item: it has one id, it arrived everywhere if it was acked, and its ack was not early.
func (c *check) item(it *item) {
	if len(it.ids) > 1 {
		c.v.note(&c.v.Wrong, "%s has the ids %v", it.tag, it.ids)
	}
	if it.best >= Durable {
		c.v.Acked++
	}
	for _, s := range c.r.Sinks {
		got := c.first(s.Name, it)
		if it.best >= Durable && got == nil {
			c.v.note(&c.v.Lost, "%s (%v) was acked, and %s never got it", it.tag, it.ids, s.Name)
		}
		for _, ack := range it.acks {
			if got != nil && got.N > ack.N {
				c.v.note(&c.v.Early, "%s was acked as delivered before %s had it", it.tag, s.Name)
			}
		}
	}
	for _, ack := range it.acks {
		for _, g := range c.after(ack) {
			c.v.note(&c.v.Early, "%s was acked as delivered, and sent to %s again in life %d", it.tag, g.Sink, g.Life)
		}
	}
}

func (c *check) first(sink string, it *item) *Got {
	for _, id := range it.ids {
		if got := c.taken[delivery{sink, id}]; len(got) > 0 {
			return &got[0]
		}
	}
	return nil
}

// after returns what was taken again, of an item whose delivery was acked, from a later process.
func (c *check) after(ack Told) (again []Got) {
	for _, s := range c.r.Sinks {
		for _, g := range c.taken[delivery{s.Name, ack.ID}] {
			if g.Life > ack.Life {
				again = append(again, g)
			}
		}
	}
	return again
}

// requests looks for halves: what one receiver got of a request, if anything, is all of it.
func (c *check) requests() {
	whole := map[string][]*item{}
	for _, tag := range c.order {
		it := c.items[tag]
		whole[it.request] = append(whole[it.request], it)
	}
	for name, items := range whole {
		for _, s := range c.r.Sinks {
			n := 0
			for _, it := range items {
				if c.first(s.Name, it) != nil {
					n++
				}
			}
			if n != 0 && n != len(items) && items[0].best < Durable {
				c.v.note(&c.v.Wrong, "%s got %d of the %d items of request %s", s.Name, n, len(items), name)
			}
		}
	}
}

// repeats holds every repeat against the end of the life in which the item was taken before.
func (c *check) repeats() {
	type cost struct {
		sink string
		life int
	}
	costs := map[cost]int{}
	for d, got := range c.taken {
		for i := 1; i < len(got); i++ {
			was := got[i-1]
			switch {
			case got[i].Life == was.Life:
				c.v.note(&c.v.Beyond, "%s got %s twice from one process", d.sink, d.id)
				continue
			case was.Life >= len(c.r.Kills):
				c.v.note(&c.v.Beyond, "%s got %s again, but life %d was not ended", d.sink, d.id, was.Life)
				continue
			}
			if age := c.r.Kills[was.Life].Sub(was.At); age > c.b.Age {
				c.v.note(&c.v.Beyond, "%s got %s again, which it took %v before the end of life %d", d.sink, d.id, age, was.Life)
				continue
			}
			costs[cost{d.sink, was.Life}]++
		}
	}
	for k, n := range costs {
		if c.v.Repeats += min(n, c.b.Repeats); n > c.b.Repeats {
			c.v.note(&c.v.Beyond, "%s got %d items again after the end of life %d, at most %d are allowed", k.sink, n, k.life, c.b.Repeats)
			c.v.Beyond += n - c.b.Repeats - 1
		}
	}
}

// strict looks at the order in which a sink took items for the first time. Ids grow in the order of accepts.
func (c *check) strict(sink string) {
	var first []Got
	for d, got := range c.taken {
		if d.sink == sink {
			first = append(first, got[0])
		}
	}
	slices.SortFunc(first, func(a, b Got) int { return cmp.Compare(a.N, b.N) })
	for i := 1; i < len(first); i++ {
		if first[i].ID < first[i-1].ID {
			c.v.note(&c.v.Order, "%s took %s before %s", sink, first[i-1].ID, first[i].ID)
		}
	}
}
