// Package dispatcher delivers: one lane per sink takes deliveries from the sink's feed, makes attempts under a deadline,
// and settles what they led to. Lanes share nothing: a sink that is slow, hangs, panics or is away delays no other.
//
// What a sink returns, and what follows:
//
//	nil                     done
//	plain error, panic,     the attempt is spent; retried with backoff, after max_retries a dead letter. When
//	ignored deadline        Breaker.Failures different items in a row end so, it is the destination: as unavailable
//	sinks.Permanent         a dead letter now
//	sinks.Unavailable       held, not spent; the breaker opens and lets one item through every Breaker.ProbeEvery
//	sinks.RetryAfter        the same, but not before that time, capped at an hour
//	sinks.Gone              held, not spent; the sink is paused
//	*sinks.BatchError       every item of the batch by its own error
//	an attempt cut short by a stop: returned to the queue, not spent
//
// Nothing but what a sink said settles a delivery for good: a worker that dies, panics, is abandoned or is stopped never
// does (guarantee E2).
//
// A sink that ignores its context is left behind some time after the deadline: the attempt counts as failed, another
// worker takes the place, and as long as a few such attempts hang, their lane holds.
//
// # Decisions
//
// 2026-11-25: A lane with one worker takes a run of up to 64 deliveries at a time while its sink is so fast that a run
// ends within 10 ms, attempts them one by one under one context, and returns the rest of a run at the first failure.
// An attempt in a run may thus last up to 10 ms longer than the timeout, never shorter. A context of its own for each
// attempt costs more than all the rest of the dispatcher.
//
// 2026-11-25: A batch that fails without saying which item it was is returned unspent and tried again in halves, down to
// single items, which then answer for themselves. So a poison item costs no other one an attempt.
//
// 2026-11-25: A breaker that an outage opened closes when its probe fails plainly: the destination answers again, and the
// item has to answer for itself. Were it to stay open, one poison item at the head would hold its sink for ever. One
// that a row of failures opened stays open.
package dispatcher
