package mutants_test

// inTheLog break what an accepted item rests on: the write, the segments, and what is read back.
var inTheLog = []mutant{
	{
		name: "skip-sync", file: "store/append.go", ci: true,
		old: "if err := l.ops.fdatasync(f); err != nil {\n\t\treturn l.fail(\"append\", g.named(err))",
		new: "if err := error(nil); err != nil {\n\t\treturn l.fail(\"append\", g.named(err))",
		pkg: "./store", tests: "TestEachStepOfARotationIsDurableBeforeTheNext|TestFailedSyncIsFatalForGood",
	},
	{
		name: "append-after-a-failed-sync", file: "store/append.go",
		old: "if err := l.failure(); err != nil {\n\t\treturn nil, err\n\t}\n\tnext := l.next()",
		new: "next := l.next()",
		pkg: "./store", tests: "TestFailedSyncIsFatalForGood",
	},
	{
		name: "cut-not-synced-before-errfull", file: "store/append.go", ci: true,
		old: "if err := l.ops.fdatasync(f); err != nil {\n\t\treturn l.fail(\"append: cut back\", g.named(err))",
		new: "if err := error(nil); err != nil {\n\t\treturn l.fail(\"append: cut back\", g.named(err))",
		pkg: "./store", tests: "TestFullDiskCutsBackAndLaterAppendsWork",
	},
	{
		name: "no-cut-before-errfull", file: "store/append.go",
		old: "if err := l.ops.truncate(f, g.size); err != nil {",
		new: "if err := error(nil); err != nil {",
		pkg: "./store", tests: "TestRefusedGroupIsGoneAfterAKill|TestFullDiskCutsBackAndLaterAppendsWork",
	},
	{
		name: "clean-flag-cleared-late", file: "store/append.go", ci: true,
		old: "if err := s.queues.clearClean(); err != nil {",
		new: "defer func() { _ = s.queues.clearClean() }()\n\tif err := error(nil); err != nil {",
		pkg: "./store", tests: "TestCleanFlagIsGoneBeforeTheFirstByte",
	},
	{
		name: "spare-renamed-before-sync", file: "store/rotate.go", ci: true,
		old: "err = l.ops.fdatasync(spare.file)",
		new: "err = nil",
		pkg: "./store", tests: "TestEachStepOfARotationIsDurableBeforeTheNext",
	},
	{
		name: "directory-not-synced-at-rotation", file: "store/rotate.go",
		old: "if err := l.ops.syncDir(",
		new: "if err := func(*os.File) error { return nil }(",
		pkg: "./store", tests: "TestEachStepOfARotationIsDurableBeforeTheNext",
	},
	{
		name: "sink-row-after-its-block", file: "store/mark.go",
		old: "\tif moved {\n",
		new: "\tif moved && s.log.next() == 0 {\n",
		pkg: "./store", tests: "TestAChangeOfSinksStartsASegment",
	},
	{
		name: "block-buffer-reused-early", file: "store/encode.go",
		old: "b := make([]byte, 0, total+padding(off, total))",
		new: "e.tables = slices.Grow(e.tables, total+padMost)\n\tb := e.tables[len(e.tables) : len(e.tables) : len(e.tables)+total+padMost]",
		pkg: "./store", tests: "TestBlocksKeepTheirBytes",
	},
	{
		name: "lose-mask-bit", file: "store/tables.go", ci: true,
		old: "t.scratch = appendSet(appendSet(t.scratch[:0], m.To), m.Dropped)",
		new: "t.scratch = appendSet(appendSet(t.scratch[:0], m.To[:min(1, len(m.To))]), m.Dropped)",
		pkg: "./store", tests: "TestItemsAreReadAsTheyWereAppended",
	},
	{
		name: "skip-item-crc", file: "store/decode.go", ci: true,
		old: "if crc32.Update(seed, castagnoli, payload) != binary.BigEndian.Uint32(b[w:]) {",
		new: "if len(payload) == 0 && crc32.Update(seed, castagnoli, payload) != binary.BigEndian.Uint32(b[w:]) {",
		pkg: "./store", tests: "TestDamagedItemIsNamedByFileAndByte",
	},
	{
		name: "skip-header-crc", file: "store/decode.go",
		old: "if len(b) < end+4 || crc32.Update(seed, castagnoli, b[4:end]) != binary.BigEndian.Uint32(b[end:]) {",
		new: "if len(b) < end+4 {",
		pkg: "./store", tests: "TestPayloadThatLooksLikeABlockIsNotTakenForOne",
	},
	{
		name: "crc-that-knows-no-place", file: "store/block.go",
		old: "return crc32.Update(segment, castagnoli, binary.BigEndian.AppendUint64(nil, uint64(off)))",
		new: "return crc32.Update(segment, castagnoli, binary.BigEndian.AppendUint64(nil, 0))",
		pkg: "./store", tests: "TestPayloadThatLooksLikeABlockIsNotTakenForOne",
	},
	{
		name: "segment-goes-before-its-keys", file: "store/seal.go",
		old: "if err := l.writeKeys(v); err != nil {\n\t\treturn 0, err",
		new: "if err := error(nil); err != nil {\n\t\treturn 0, err",
		pkg: "./store", tests: "TestSegmentIsNotReleasedBeforeItsKeysAreOnDisk",
	},
	{
		name: "released-behind-an-unsealed-segment", file: "store/seal.go",
		old: "if !v.sealed || v.last {\n\t\t\tbreak",
		new: "if !v.sealed || v.last {\n\t\t\tcontinue",
		pkg: "./store", tests: "TestNothingIsReleasedBehindASegmentThatIsNotSealed",
	},
	{
		name: "segment-goes-before-its-hole-is-told", file: "store/seal.go",
		old: "err := s.queues.addHoles(holes)",
		new: "err := s.queues.addHoles(holes[:0])",
		pkg: "./store", tests: "TestOnlyAReleasedSegmentMayBeMissing",
	},
}

// inTheTail break the start after a stop that was not clean.
var inTheTail = []mutant{
	{
		name: "torn-tail-accepted", file: "store/scan.go", ci: true,
		old: "\tif known.Clean {\n\t\ts.settle()",
		new: "\tif known.Clean || len(s.pending) > 0 {\n\t\ts.settle()",
		pkg: "./store", tests: "TestTornGroupCommitKeepsWholeRequests",
	},
	{
		name: "zeros-taken-for-the-end", file: "store/scan.go",
		old: "end := max(g.end, g.due(), l.torn.end)",
		new: "end := max(g.end, g.due(), l.torn.end, known.Synced)",
		pkg: "./store", tests: "TestZerosWhereTheLogWasDurableAreDamage",
	},
	{
		name: "kept-taken-for-torn", file: "store/scan.go",
		old: "known.Synced = max(known.Synced, g.header.KeptEnd)",
		new: "known.Synced = max(known.Synced, 0*g.header.KeptEnd)",
		pkg: "./store", tests: "TestWhatWasWrittenAgainIsNoGap",
	},
	{
		name: "missing-segment-not-missed", file: "store/open.go",
		old: "if from := max(end, known.OldestNeeded); g.first > from && !covers(",
		new: "if from := max(end, known.OldestNeeded); g.first < from && !covers(",
		pkg: "./store", tests: "TestMissingSegmentThatIsNeededIsDamage",
	},
	{
		name: "tail-not-rewritten-at-start", file: "store/rewrite.go", ci: true,
		old: "if err := l.endTail(&l.torn, snap, lend); err != nil {",
		new: "if err := error(nil); err != nil {",
		pkg: "./store", tests: "TestTornGroupCommitKeepsWholeRequests|TestCutOfATornTailIsSynced",
	},
	{
		name: "cut-of-the-tail-not-synced", file: "store/rewrite.go",
		old: "\tif err == nil {\n\t\terr = l.ops.fdatasync(f)\n\t}\n\tif err != nil {\n\t\treturn l.fail(\"cut\"",
		new: "\tif err != nil {\n\t\treturn l.fail(\"cut\"",
		pkg: "./store", tests: "TestCutOfATornTailIsSynced",
	},
	{
		name: "seq-reused-after-a-lost-tail", file: "store/tail.go",
		old: "s.log.seq = max(s.log.seq, torn.end)",
		new: "s.log.seq = max(s.log.seq, s.before.end+uint64(len(torn.items)))",
		pkg: "./store", tests: "TestSeqsOfATornGroupAreNotGivenAgain",
	},
	{
		name: "torn-group-told-as-damage", file: "store/tail.go",
		old: "if seq < known.Synced && !kept[seq] {",
		new: "if !kept[seq] {",
		pkg: "./store", tests: "TestTornGroupCommitKeepsWholeRequests",
	},
	{
		name: "damage-told-as-a-torn-group", file: "store/tail.go",
		old: "if seq < known.Synced && !kept[seq] {",
		new: "if seq < known.Synced && kept == nil {",
		pkg: "./store", tests: "TestDamagedItemThatWasDurableIsDamageOfTheTail",
	},
	{
		name: "half-a-request-kept", file: "store/torn.go", ci: true,
		old: "!items[i].Continues && !items[j].goesOn",
		new: "!items[i].Continues",
		pkg: "./store", tests: "TestTornGroupCommitKeepsWholeRequests",
	},
	{
		name: "end-of-a-request-kept", file: "store/torn.go",
		old: "!items[i].Continues && !items[j].goesOn",
		new: "!items[j].goesOn",
		pkg: "./store", tests: "TestTornGroupCommitKeepsWholeRequests",
	},
	{
		name: "positions-of-a-torn-group-kept", file: "store/tail.go",
		old: "t.positions = nil",
		new: "t.positions = addPositions(nil, t.positions)",
		pkg: "./store", tests: "TestPositionsOfATornGroupAreForgotten",
	},
	{
		name: "new-directory-not-synced", file: "recovery/recovery.go",
		old: "\t\terr := store.SyncDir(path)\n",
		new: "\t\terr := error(nil)\n",
		pkg: "./recovery/crashtest", tests: "TestNewDirectoriesAreDurable", needs: "strace",
	},
}
