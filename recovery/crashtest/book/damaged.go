package book

import (
	"fmt"
	"strings"
)

// CheckDamaged judges a record of a service whose disk was damaged between two lives. What is lost must have been
// reported by number: Lost is how many acked items are missing somewhere beyond that. Damage at the very end of the log
// cannot always be told from a log that ends there: items that were acked in one of the lives unknown are not counted.
// Deliveries whose marks were damaged are repeated, and so neither repeats nor the order are judged.
func CheckDamaged(r *Record, reported int, unknown map[int]bool) *Verdict {
	c := &check{r: r, items: map[string]*item{}, byBody: map[string]*item{}, taken: map[delivery][]Got{}}
	c.readTold()
	c.readGot()
	c.v.Items = len(c.items)
	excused, uncertain, lost := map[string]bool{}, map[string]bool{}, []string(nil)
	for _, t := range r.Told {
		excused[t.Tag] = excused[t.Tag] || unknown[t.Life]
		uncertain[t.Tag] = uncertain[t.Tag] || t.Answer == Uncertain
	}
	for _, tag := range c.order {
		it := c.items[tag]
		if len(it.ids) > 1 && !uncertain[tag] { // with the item its key may have been damaged
			c.v.note(&c.v.Wrong, "%s has the ids %v", it.tag, it.ids)
		}
		if it.best < Durable {
			continue
		}
		c.v.Acked++
		if missing := c.missing(it); missing != "" && !excused[tag] {
			lost = append(lost, fmt.Sprintf("%s %s %v", missing, it.tag, it.ids))
		}
	}
	if c.v.Lost = max(0, len(lost)-reported); c.v.Lost > 0 {
		c.v.Details = append(c.v.Details, fmt.Sprintf("%d were reported, and of what was acked never came: %s", reported, strings.Join(lost, ", ")))
	}
	return &c.v
}

// missing is a sink that never got an item, empty if all have it. An ack of a delivery that came before is noted.
func (c *check) missing(it *item) (sink string) {
	for _, s := range c.r.Sinks {
		got := c.first(s.Name, it)
		if got == nil {
			sink = s.Name
			continue
		}
		for _, ack := range it.acks {
			if got.N > ack.N {
				c.v.note(&c.v.Early, "%s was acked as delivered before %s had it", it.tag, s.Name)
			}
		}
	}
	return sink
}
