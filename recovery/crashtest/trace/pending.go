package trace

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

const sector = 512

// Pending is a disk at one moment: what is durable, and what of the rest may be there. It does not change; any number of
// goroutines may make images of it.
type Pending struct {
	root  *node
	nodes map[*node]*frozen
	units []unit // in the order of the calls
}

// A frozen is a node at one moment.
type frozen struct {
	base    []byte
	changes []*change
	durable map[string]*node
	moves   []*move
}

// A unit is a change or a move. Its parts are there or not: the sectors of a write, one for all else.
type unit struct {
	n     int
	first int // of its parts, among those of all units
	parts int
	name  bool // it is a move
	owed  bool // a flush that did nothing should have covered it
}

// Pending returns what is durable and what is not in a directory of the disk; "." is all of it.
func (d *Disk) Pending(dir string) (*Pending, error) {
	root, err := d.find(dir)
	if err != nil {
		return nil, err
	}
	p := &Pending{root: root, nodes: map[*node]*frozen{}}
	p.freeze(root)
	slices.SortFunc(p.units, func(a, b unit) int { return cmp.Compare(a.n, b.n) })
	first := 0
	for i := range p.units {
		p.units[i].first = first
		first += p.units[i].parts
	}
	return p, nil
}

// freeze takes a node, and all that may be found below it.
func (p *Pending) freeze(n *node) {
	if p.nodes[n] != nil {
		return
	}
	f := &frozen{base: n.base, changes: slices.Clone(n.changes), durable: n.durable, moves: slices.Clone(n.moves)}
	p.nodes[n] = f
	for _, c := range f.changes {
		p.units = append(p.units, unit{n: c.n, parts: c.parts(), owed: c.owed})
	}
	for _, kid := range f.durable {
		p.freeze(kid)
	}
	for _, m := range f.moves {
		p.units = append(p.units, unit{n: m.n, parts: 1, name: true, owed: m.owed})
		p.freeze(m.node)
	}
}

func (c *change) parts() int {
	if c.kind != Write || len(c.data) == 0 {
		return 1
	}
	return int((c.off+int64(len(c.data))-1)/sector - c.off/sector + 1)
}

// Units returns how many changes are not durable, and of how many parts they are.
func (p *Pending) Units() (units, parts int) {
	for _, u := range p.units {
		parts += u.parts
	}
	return len(p.units), parts
}

// A Choice is which parts of what is pending are on the disk.
type Choice struct {
	there map[int][]bool // by number of the change, then by part
	lag   *rand.Rand     // sizes lag behind by it; nil: they do not
}

// Lacks reports whether a choice is without something that a flush should have covered which did nothing.
func (p *Pending) Lacks(c Choice) bool {
	return slices.ContainsFunc(p.units, func(u unit) bool { return u.owed && slices.Contains(c.there[u.n], false) })
}

// choose makes a choice of what there says about each part.
func (p *Pending) choose(there func(u *unit, part int) bool) Choice {
	c := Choice{there: make(map[int][]bool, len(p.units))}
	for i := range p.units {
		u := &p.units[i]
		parts := make([]bool, u.parts)
		for k := range parts {
			parts[k] = there(u, u.first+k)
		}
		c.there[u.n] = parts
	}
	return c
}

// All returns how many choices there are, if at most 2^bits: of all parts, or else of all units. Otherwise it is 0.
func (p *Pending) All(bits int) int {
	units, parts := p.Units()
	switch {
	case parts <= bits:
		return 1 << parts
	case units <= bits:
		return 1 << units
	}
	return 0
}

// Nth returns one of the choices that All counts.
func (p *Pending) Nth(bits, n int) Choice {
	if _, parts := p.Units(); parts <= bits {
		return p.choose(func(_ *unit, part int) bool { return n>>part&1 == 1 })
	}
	at := make(map[int]int, len(p.units))
	for i := range p.units {
		at[p.units[i].n] = i
	}
	return p.choose(func(u *unit, _ int) bool { return n>>at[u.n]&1 == 1 })
}

// Sample draws a choice: units whole or absent, all torn, up to somewhere in the order of the calls, all but one part or
// unit, or one alone. With some of them sizes lag behind.
func (p *Pending) Sample(rng *rand.Rand) Choice {
	units, parts := p.Units()
	c := p.sample(rng, max(units, 1), max(parts, 1))
	if rng.IntN(10) < 3 {
		c.lag = rng
	}
	return c
}

func (p *Pending) sample(rng *rand.Rand, units, parts int) Choice {
	chances := [...]float64{.02, .1, .5, .9, .98}
	chance, ofNames := chances[rng.IntN(5)], chances[rng.IntN(4)] // names are late more often than not
	drawn := func(u *unit) bool {
		if u.name {
			return rng.Float64() < ofNames
		}
		return rng.Float64() < chance
	}
	switch n := rng.IntN(20); {
	case n < 4:
		whole := map[int]bool{}
		for i := range p.units {
			whole[p.units[i].n] = drawn(&p.units[i])
		}
		return p.choose(func(u *unit, _ int) bool { return whole[u.n] })
	case n < 14:
		return p.choose(func(u *unit, _ int) bool { return drawn(u) })
	case n < 16: // as if the disk did one after the other, and was torn in one of them
		last := rng.IntN(parts + 1)
		return p.choose(func(_ *unit, part int) bool { return part < last })
	case n < 17:
		not := rng.IntN(parts)
		return p.choose(func(_ *unit, part int) bool { return part != not })
	}
	one, alone := rng.IntN(units), rng.IntN(2) == 0
	return p.choose(func(u *unit, _ int) bool { return (u.n == p.units[one].n) == alone })
}
