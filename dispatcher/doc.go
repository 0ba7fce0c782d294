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
//	plain or unavailable,   a dead letter, if the item was accepted longer ago than Retry.MaxAge
//	  and too old
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
// 2026-11-25: A batch that fails without saying which item it was is returned unspent, and each of its items goes again
// only with others like it, in a batch of at most half as many, down to single items, which then answer for themselves.
// So a poison item costs no other one an attempt. The lane remembers that by item, not by a batch size of its own:
// workers that deliver meanwhile would raise it again, and nothing would bound the search.
//
// 2026-11-25: A batch in which each item settles alone may leave a strict order where the sink took later items and not
// an earlier one: that is what the sink said. A sink that minds takes one item at a time. Order key is the feed's: no two
// deliveries of one key are out at once, so nothing that happens to a batch, a run or a worker can change it.
//
// 2026-11-25: While a rate delays, the lane holds nothing: what it took is returned and taken again when the rate allows
// so many. A pause, an expiry or an outage meanwhile is thus obeyed, and batches stay full. No batch is larger than the
// burst, so that the bound is exact.
//
// 2026-11-25: max_age buries an item when its own attempt fails, never one that has not been tried, with one exception:
// once the destination has been down for all of max_age, what is past it goes without an attempt each. A million of them
// would else last two months at a probe every 5 s. An outage that a start begins with is thus given max_age before the
// backlog goes; until then each probe costs at most its own item. What waits for its own time, be it for a Retry-After
// of an hour, is looked at when that comes. A sink that is paused keeps everything.
//
// 2026-11-25: A sink that makes several requests of a batch says of each what it came to. A request of several items that
// failed without saying which is a sinks.SharedError and is halved like a batch; what was not tried for it
// (sinks.ErrUntried) goes back. Both say nothing to the breaker and spend no attempt.
//
// 2026-11-25: The log tells at once that a sink went down and that it came up, with how long and how much waits, and at
// growing intervals, from a minute to an hour, that it stays down. One that comes and goes within ten minutes is told at
// such intervals only: a single item that is refused as if the sink was down would else be two lines at each probe. So are
// dead letters after the first, and a lane that is held again.
//
// 2026-11-25: A breaker that an outage opened closes when its probe fails plainly: the destination answers again, and the
// item has to answer for itself. Were it to stay open, one poison item at the head would hold its sink for ever. One
// that a row of failures opened stays open.
package dispatcher
