package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// strict makes every command below and including cmd refuse what it does not
// know: cobra itself shows help and succeeds for an unknown verb of a group.
func strict(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(flagError)
	if cmd.HasSubCommands() {
		if cmd.RunE == nil && cmd.Run == nil {
			cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
			cmd.Args = cobra.NoArgs
		}
	}
	check := cmd.Args
	cmd.Args = func(c *cobra.Command, args []string) error {
		if c.HasSubCommands() && len(args) > 0 {
			return unknownVerb(c, args[0])
		}
		if check == nil {
			return nil
		}
		if err := check(c, args); err != nil {
			return asUsage(c, err)
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

func unknownVerb(c *cobra.Command, verb string) error {
	if c.SuggestionsMinimumDistance == 0 {
		c.SuggestionsMinimumDistance = 2
	}
	text := fmt.Sprintf("%q is not a verb of %s", verb, c.CommandPath())
	if similar := c.SuggestionsFor(verb); len(similar) > 0 {
		text += fmt.Sprintf(" (did you mean %s?)", strings.Join(similar, ", "))
	}
	return &usageError{text: text, hint: seeHelp(c)}
}

// flagError tells a flag that is wrong; if the verb before it is wrong, that
// is what the user wants to know.
func flagError(c *cobra.Command, err error) error {
	if before := c.Flags().Args(); c.HasSubCommands() && len(before) > 0 {
		return unknownVerb(c, before[0])
	}
	return asUsage(c, err)
}

func asUsage(c *cobra.Command, err error) error {
	text := err.Error()
	if c.HasParent() { // report puts the root's name in front
		text = strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ") + ": " + text
	}
	return &usageError{text: text, hint: seeHelp(c)}
}

func seeHelp(c *cobra.Command) string { return "see " + c.CommandPath() + " --help" }

// exactly wants one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("missing %s", strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return fmt.Errorf("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

// helpCommand is cobra's, but an unknown topic is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB…]",
		Short: "Explain a verb",
		RunE: func(c *cobra.Command, args []string) error {
			topic, rest, err := c.Root().Find(args)
			if err != nil {
				return asUsage(c, err)
			}
			if len(rest) > 0 && topic.HasSubCommands() {
				return unknownVerb(topic, rest[0])
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}
