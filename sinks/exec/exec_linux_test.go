package exec_test

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"holdfast/sinks/sinktest"
)

func TestProgramDiesWithHoldfast(t *testing.T) {
	l := listen(t)
	holdfast := osexec.Command(os.Args[0])
	holdfast.Env = append(os.Environ(), "PROGRAM=holdfast", "ADDR="+l.addr())
	must(t, holdfast.Start())
	c := l.accept()
	must(t, holdfast.Process.Kill())
	_ = holdfast.Wait()
	wantGone(t, c)
}

func TestWhoLeftTheGroupWithStderrDoesNotHoldTheOutcome(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	must(t, syscall.Mkfifo(ready, 0o600))
	o := shell(`setsid sh -c 'echo ok >"$READY"; exec sleep 5' & read -r ok <"$READY"; exit 3`)
	o.Env = map[string]string{"READY": ready}
	o.Stderr = true
	began := time.Now()
	if err := newSink(t, o).Deliver(t.Context(), sinktest.Items("")); verdict(err) != "plain" || time.Since(began) > 3*time.Second {
		t.Errorf("after %v, deliver: %v", time.Since(began), err)
	}
}
