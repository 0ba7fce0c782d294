//go:build linux

package crashtest_test

import (
	"context"
	"path/filepath"
	"reflect"
	"runtime/debug"

	"github.com/google/go-cmp/cmp"

	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/recovery/crashtest/trace/script"
	"holdfast/store"
)

// A depth is how far an image is looked at.
type depth int

const (
	opens  depth = iota // it opens, and has what it must
	again               // and is the same after a stop in order
	goesOn              // and takes a new item before that, and knows the old keys
)

// newTag is the number of the item that is put into an image.
const newTag = script.FirstNew + 1

// check starts the store in an image's directory, and looks at what is there.
func check(dir string, m *moment, deep depth) (v verdict) {
	defer func() {
		if r := recover(); r != nil {
			v.add(&v.dead, "panic: %v\n%s", r, debug.Stack())
		}
	}()
	dir = filepath.Join(dir, "data")
	look := visit(dir, m, deep, &v, true)
	if look == nil || deep == opens {
		return v
	}
	if deep == goesOn {
		for _, sink := range script.Wants(newTag) {
			look.State[sink][newTag] = script.Waiting
		}
	}
	second := visit(dir, m, opens, &v, false)
	if second == nil {
		return v
	}
	if diff := cmp.Diff(look.State, second.State); diff != "" {
		v.add(&v.wrong, "after a stop in order it is another: %s", diff)
	}
	for _, w := range second.Wrong {
		v.add(&v.wrong, "after a stop in order: %s", w)
	}
	return v
}

// visit starts a store, looks at it, and stops it. nil: it did not come to that.
func visit(dir string, m *moment, deep depth, v *verdict, crashed bool) (look *script.Look) {
	st, report, err := recovery.Open(dir, script.Options())
	if err != nil {
		v.add(&v.dead, "it does not open: %v", err)
		return nil
	}
	defer func() {
		if err := st.Close(); err != nil {
			v.add(&v.dead, "it does not close: %v", err)
		}
	}()
	if !crashed && report.Unclean {
		v.add(&v.wrong, "after a stop in order it calls itself unclean")
	}
	calm(report, v)
	q, err := queue.Open(st, script.QueueOptions())
	if err != nil {
		v.add(&v.dead, "its queues do not open: %v", err)
		return nil
	}
	if look, err = script.See(st, q); err != nil {
		v.add(&v.dead, "it cannot be read: %v", err)
		return nil
	}
	if crashed {
		m.judge(look, v)
	}
	if deep == goesOn {
		proceed(st, q, m, v)
	}
	return look
}

// calm says that no legal image needs to be saved: nothing is lost, damaged or in quarantine.
func calm(r recovery.Report, v *verdict) {
	r.Created, r.Unclean, r.Kept, r.Unconfirmed, r.Swept, r.Took = false, false, 0, 0, 0, 0
	if !reflect.ValueOf(r).IsZero() {
		v.add(&v.wrong, "the report tells of damage: %+v", r)
	}
}

// proceed puts a new item, asks for an old one again by its key, and stops the queue.
func proceed(st *store.Store, q *queue.Queues, m *moment, v *verdict) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			v.add(&v.dead, "it does not run: %v", err)
		}
	}()
	for tag, id := range m.ids {
		if script.Item(tag).IdempotencyKey == "" || m.opened {
			continue
		}
		a, err := q.Put(ctx, queue.Request{Items: []queue.Item{script.Item(tag)}})
		if err != nil || !a.Receipts[0].Duplicate || a.Receipts[0].ID.String() != id {
			v.add(&v.wrong, "item %d put again by its key: %+v, %v; want %s", tag, a.Receipts, err, id)
		}
		break
	}
	a, err := q.Put(ctx, queue.Request{Items: []queue.Item{script.Item(newTag)}})
	if err != nil {
		v.add(&v.dead, "it takes no item: %v", err)
		return
	}
	for tag, id := range m.ids {
		if got := a.Receipts[0].ID.String(); got <= id {
			v.add(&v.wrong, "the new id %s is not above %s of item %d", got, id, tag)
		}
	}
}
