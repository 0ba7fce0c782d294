package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
)

// ask puts a question that only yes lets pass. Without a terminal at both ends
// it asks nothing and is an error that says what to do instead.
func (a *app) ask(ctx context.Context, question, instead string) error {
	if !a.Terminal(a.In) || !a.Terminal(a.Err) {
		return usagef("%s\n  there is no terminal to ask on: %s", question, instead)
	}
	fmt.Fprint(a.Err, clean(question)+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // left behind in Read if ctx ends first: the process is about to exit
		line, _ := bufio.NewReader(a.In).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.Err)
		return errors.New("interrupted: nothing was done")
	case yes := <-answer:
		if yes != "y" && yes != "yes" {
			return errors.New("not confirmed: nothing was done")
		}
		return nil
	}
}
