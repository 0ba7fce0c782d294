package dispatcher

// shift is what a run's two contexts mean to its workers.
type shift struct {
	hire     func()       // starts a worker
	stopping func() bool  // nothing more is taken
	cut      func() bool  // nothing more is attempted
	pause    func() error // pauses the sink durably
}

// enlist makes a worker, in the place of old if there is one.
func (l *lane) enlist(old *worker) *worker {
	w := newWorker(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.workers, old)
	l.workers[w] = true
	return w
}

func (l *lane) leave(w *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.workers, w)
	if l.places--; l.places == 0 {
		close(l.ended)
	}
}

// replace gives the place of a worker that is lost to a new one, or to nobody when the lane stops.
func (l *lane) replace(w *worker) {
	if l.shift.stopping() {
		l.leave(w)
		return
	}
	l.mu.Lock()
	delete(l.workers, w)
	l.mu.Unlock()
	l.shift.hire()
}

// returned notes that an attempt which was abandoned has come back after all.
func (l *lane) returned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hanging--
	l.settled()
}
