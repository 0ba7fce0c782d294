package exec

// EndsUnfed lets a process live whose input nobody writes, as if feed had come too late, and says whether it passes for one
// that read all.
func EndsUnfed(o Options) bool {
	p, err := newProcess(o, []string{"A=b"})
	if err != nil {
		return true
	}
	close(p.fed)
	p.live(func(*process) {})
	return p.readAll
}
