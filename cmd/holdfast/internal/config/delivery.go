package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// maxRate bounds what a rate and its burst may be: beyond it, nothing is limited.
const maxRate = 1_000_000_000

func (d *decoder) defaults(v value, c *Delivery) {
	d.mapping(v, d.deliveryFields(c))
	d.backoff(v.path, c)
}

// deliveryFields are the keys that "defaults" and each sink have in common. Where a sink names one key of a mapping, it
// has the others from the defaults, but for match, which it replaces as a whole.
func (d *decoder) deliveryFields(c *Delivery) fields {
	return fields{
		"timeout": d.duration(&c.Timeout, time.Millisecond),
		"retry": func(v value) {
			d.mapping(v, fields{
				"max_retries": whole(d, &c.Retry.MaxRetries, Forever, math.MaxInt32),
				"backoff":     d.duration(&c.Retry.Backoff, time.Millisecond),
				"max_backoff": d.duration(&c.Retry.MaxBackoff, time.Millisecond),
				"jitter":      d.share(&c.Retry.Jitter),
				"max_age":     d.duration(&c.Retry.MaxAge, 0),
			})
		},
		"breaker": func(v value) {
			d.mapping(v, fields{
				"failures":    whole(d, &c.Breaker.Failures, 1, math.MaxInt32),
				"probe_every": d.duration(&c.Breaker.ProbeEvery, time.Millisecond),
			})
		},
		"rate_limit": func(v value) { d.rateLimit(v, &c.RateLimit) },
		"batch":      func(v value) { d.batch(v, &c.Batch) },
		"match":      func(v value) { d.match(v, &c.Match) },
	}
}

// backoff looks at the two ends of the waits, one of which a sink may have from the defaults.
func (d *decoder) backoff(path string, c *Delivery) {
	_, own := d.at[path+".retry"]
	if own && c.Retry.Backoff > c.Retry.MaxBackoff {
		d.failAt(d.either(path+".retry.backoff", path+".retry.max_backoff"),
			fmt.Sprintf("backoff %v is more than max_backoff %v", c.Retry.Backoff, c.Retry.MaxBackoff))
	}
}

// rateLimit decodes a rate. A burst that nobody gave lets the items of one second go at once.
func (d *decoder) rateLimit(v value, r *RateLimit) {
	before := len(d.found)
	d.mapping(v, fields{
		"per_second": d.rate(&r.PerSecond),
		"burst":      whole(d, &r.Burst, 1, maxRate),
	})
	if len(d.found) > before {
		return
	}
	if r.PerSecond == 0 {
		d.failAt(v.path, "per_second is missing: how many items a second may go")
	}
	_, given := d.at[d.either(v.path+".burst", "defaults.rate_limit.burst")]
	if !given {
		r.Burst = max(1, int(math.Ceil(r.PerSecond)))
	}
}

// rate decodes a number above 0.
func (d *decoder) rate(dst *float64) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if !ok {
			return
		}
		f, err := strconv.ParseFloat(s.text, 64)
		if err != nil || !(f > 0 && f <= maxRate) {
			d.wrong(s, fmt.Sprintf("is not a number above 0 and up to %d", maxRate))
			return
		}
		*dst = f
	}
}

func (d *decoder) batch(v value, b *Batch) {
	if *b == (Batch{}) {
		*b = newBatch()
	}
	d.mapping(v, fields{
		"items":       whole(d, &b.Items, 1, 100_000),
		"bytes":       d.size(&b.Bytes, 1),
		"wait":        d.duration(&b.Wait, 0),
		"without_ids": d.boolean(&b.WithoutIDs),
	})
}

// checkBatch looks at what a sink's receiver could make of several items in one request.
func (d *decoder) checkBatch(path string, s *Sink) {
	if s.Delivery.Batch.Items == 0 {
		return
	}
	at, whose := path+".batch", "a batch"
	if _, own := d.at[at]; !own {
		at, whose = d.either(path+".format", path), "the batch of defaults"
	}
	switch {
	case s.Format == CloudEventsBinary:
		d.failAt(at, whose+" cannot have format cloudevents_binary: its headers describe one item (cloudevents can)")
	case s.Format == Raw && !s.Delivery.Batch.WithoutIDs:
		d.failAt(at, whose+" needs format json or cloudevents: format raw has no ids, by which a receiver knows a "+
			"repetition (batch.without_ids: true permits it)")
	}
}
