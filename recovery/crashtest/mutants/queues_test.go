package mutants_test

import "slices"

// list is every mutant.
var list = slices.Concat(inTheLog, inTheTail, inTheQueues, inSettling, inPuts)

// inTheQueues break queues.db.
var inTheQueues = []mutant{
	{
		name: "memory-changed-before-commit", file: "store/mark.go",
		old: "\t\treturn q.durable(t.tx)\n\t})\n\tif err != nil {\n\t\treturn nil, q.judge(errors.Join(err, q.abandon(t)))\n\t}\n\tq.remember(t)\n",
		new: "\t\tq.remember(t)\n\t\treturn q.durable(t.tx)\n\t})\n\tif err != nil {\n\t\treturn nil, q.judge(errors.Join(err, q.abandon(t)))\n\t}\n",
		pkg: "./store", tests: "TestFailedCommitChangesNoMemory",
	},
	{
		name: "skip-value-crc", file: "store/value.go",
		old: "if n < 0 || binary.BigEndian.Uint32(value[n:]) != valueSum(number, key, value[:n]) {",
		new: "if n < 0 {",
		pkg: "./store", tests: "TestDamagedQueuesAreToldOrWhole",
	},
	{
		name: "compaction-without-its-empty-commit", file: "store/compact.go", ci: true,
		old: "if err := c.db.Update(func(*bolt.Tx) error { return nil }); err != nil {",
		new: "if err := error(nil); err != nil {",
		pkg: "./store", tests: "TestCompactGivesFreePagesBackAndChangesNothing",
	},
	{
		name: "new-queues-without-their-empty-commit", file: "store/create.go",
		old: "err = db.Update(func(*bolt.Tx) error { return nil })",
		new: "err = nil",
		pkg: "./store", tests: "TestBothMetaPagesOfANewStoreShowTheWhole",
	},
	{
		name: "failed-flush-taken-for-a-full-disk", file: "store/room.go",
		old: "return (path.Op == \"write\" || path.Op == \"truncate\") && isFull(err)",
		new: "return path != nil && isFull(err)",
		pkg: "./store", tests: "TestWantOfSpaceIsToldFromAFailedFlush",
	},
	{
		name: "commit-after-a-failed-commit", file: "store/mark.go",
		old: "if err := q.failure(); err != nil {\n\t\treturn nil, err\n\t}\n\tif err := q.makeRoom",
		new: "if err := q.makeRoom",
		pkg: "./store", tests: "TestAFailedCommitIsFatalForGood",
	},
	{
		name: "hole-in-one-meta-page", file: "store/holes.go",
		old: "_, err = q.update(0, func(*transaction) error { return nil })\n\treturn err",
		new: "return nil",
		pkg: "./store", tests: "TestHolesAreInBothMetaPagesBeforeTheirSegmentsGo",
	},
	{
		name: "unlink-before-the-cursor-is-durable", file: "queue/keep.go", ci: true,
		old: "if slices.Contains(before, seg.Serial) {",
		new: "if len(before) == 0 || slices.Contains(before, seg.Serial) {",
		pkg: "./queue", tests: "TestSegmentGoesOneCommitAfterItIsFree",
	},
}

// inSettling break the way from an outcome to the ack.
var inSettling = []mutant{
	{
		name: "ack-before-the-last-bit", file: "queue/join.go", ci: true,
		old: "if len(w.owing) > 0 {",
		new: "if len(w.owing) > 1 {",
		pkg: "./queue", tests: "TestJoinOfManyWaitsForAll|TestOnlyOutcomesSettle",
	},
	{
		name: "ack-before-its-mark-is-durable", file: "queue/marks.go",
		old: "if err := q.write(change, queues, owed); err != nil {",
		new: "q.join.fire(acks, q.metrics)\n\t\tacks = nil\n\t\tif err := q.write(change, queues, owed); err != nil {",
		pkg: "./queue", tests: "TestAckIsOfTheCommitThatHasTheMark",
	},
	{
		name: "mark-without-its-dead-letter", file: "queue/marks.go",
		old: "c.Rows = append(c.Rows, dead)",
		new: "_ = dead",
		pkg: "./queue", tests: "TestDeadLetterAndItsMarkAreOneTransaction",
	},
	{
		name: "cursor-past-a-hole", file: "queue/queue.go",
		old: "if seq, ok := u.out.oldest(); ok {",
		new: "if seq, ok := u.out.oldest(); ok && seq > u.pos {",
		pkg: "./queue", tests: "TestRepeatsAreWhatWasNotMarked",
	},
	{
		name: "marks-not-written", file: "queue/marks.go",
		old: "c.Marks = u.out.marks()",
		new: "c.Marks = u.out.marks()[:0]",
		pkg: "./queue", tests: "TestDurableMarkIsNeverForgotten",
	},
	{
		name: "marks-lost-at-a-stop", file: "queue/marks.go",
		old: "func (q *Queues) lastMark() error {\n\terr := q.mark()",
		new: "func (q *Queues) lastMark() error {\n\terr := error(nil)",
		pkg: "./queue", tests: "TestStopMarksWhatWasSettled",
	},
	{
		name: "retry-not-persisted", file: "queue/settle.go",
		old: "w.dirty = w.dirty || o.Kind == Retry || o.After >= holdWorth",
		new: "w.dirty = w.dirty || o.After >= holdWorth",
		pkg: "./queue", tests: "TestEveryAttemptIsWrittenHoweverSoonTheNextIs",
	},
	{
		name: "row-outlives-its-delivery", file: "queue/settle.go",
		old: "b.gone[w.Seq] = true",
		new: "delete(b.gone, w.Seq)",
		pkg: "./queue", tests: "TestDurableMarkIsNeverForgotten",
	},
	{
		name: "return-that-settles", file: "queue/settle.go",
		old: "u.out.giveBack(d.slot)",
		new: "u.out.settle(u.out.get(d.slot))",
		pkg: "./queue", tests: "TestReturnedDeliveryLeavesNoTrace",
	},
	{
		name: "settled-twice", file: "queue/settle.go",
		old: "return d.row.out && d.row.turn == d.turn",
		new: "return d.row.out",
		pkg: "./queue", tests: "TestSecondSettleChangesNothing",
	},
	{
		name: "requeue-that-acks-again", file: "queue/settle.go",
		old: "w.State, w.Owes, w.Permanent, w.Next = store.RowDead, false, o.Permanent, 0",
		new: "w.State, w.Owes, w.Permanent, w.Next = store.RowDead, owed, o.Permanent, 0",
		pkg: "./queue", tests: "TestRequeueGoesToThatSinkAloneAndAcksNobodyAgain",
	},
	{
		name: "full-disk-does-not-hold-the-lanes", file: "queue/feed.go",
		old: "if u.sink.paused.Load() || u.all.stuck.Load() {",
		new: "if u.sink.paused.Load() {",
		pkg: "./queue", tests: "TestLanesHoldWhileMarksCannotBeWritten", needs: "mount",
	},
	{
		name: "strict-order-passes-a-retry", file: "queue/feed.go",
		old: "return waits && head < seq",
		new: "return waits && head > seq",
		pkg: "./queue", tests: "TestStrictOrderHoldsWhatIsBehindARetry",
	},
	{
		name: "one-attempt-too-many", file: "dispatcher/retry.go",
		old: "return r.MaxRetries >= 0 && spent > r.MaxRetries",
		new: "return r.MaxRetries >= 0 && spent > r.MaxRetries+1",
		pkg: "./dispatcher", tests: "TestAttemptsAreExhaustedAfterTheRetries",
	},
}

// inPuts break what a producer is told.
var inPuts = []mutant{
	{
		name: "key-window-off-by-one", file: "queue/dedupe.go",
		old: "d.now() - d.window",
		new: "d.now() - d.window + 1",
		pkg: "./queue", tests: "TestKeyIsKnownToTheEndOfItsWindow",
	},
	{
		name: "newest-keys-off-by-one", file: "queue/dedupe.go",
		old: "limit: limit, now: now",
		new: "limit: limit - 1, now: now",
		pkg: "./queue", tests: "TestOnlyTheNewestKeysAreKnown",
	},
	{
		name: "refused-request-keeps-its-keys", file: "queue/put.go",
		old: "\t\tq.dedupe.abandon(p)\n\t\tp.done.set()",
		new: "\t\tp.done.set()",
		pkg: "./queue", tests: "TestRequestThatIsNotStoredGivesItsPlacesBack",
	},
	{
		name: "same-key-with-another-body", file: "queue/dedupe.go",
		old: "case s.hash.Body != h.Body:",
		new: "case s.hash.Key != h.Key:",
		pkg: "./queue", tests: "TestSameKeyGivesTheFirstReceiptAgain",
	},
	{
		name: "id-goes-back-with-the-clock", file: "queue/commit.go",
		old: "max(time.Now().UnixMilli(), q.st.IDTime())",
		new: "max(time.Now().UnixMilli(), 0)",
		pkg: "./queue", tests: "TestIDsDoNotGoBackWithTheClock",
	},
	{
		name: "places-of-a-refused-request-kept", file: "queue/put.go",
		old: "q.room.unreserve(p.items)",
		new: "q.room.came(p.items)",
		pkg: "./queue", tests: "TestFullDiskRefusesAndResumes", needs: "mount",
	},
}
