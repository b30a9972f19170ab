package main

import (
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// usageText is a command's help: what it does, its commands, and every flag with
// its unit and default.
func usageText(c *ffcli.Command) string {
	var b strings.Builder
	usage := c.ShortUsage
	if usage == "" {
		usage = c.Name
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", c.ShortHelp, usage)
	if c.LongHelp != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(c.LongHelp))
	}
	if len(c.Subcommands) > 0 {
		fmt.Fprint(&b, "\nCommands:\n")
		w := tabwriter.NewWriter(&b, 0, 2, 2, ' ', 0)
		for _, sub := range c.Subcommands {
			fmt.Fprintf(w, "  %s\t%s\n", sub.Name, sub.ShortHelp)
		}
		w.Flush()
	}
	head := "\nFlags:\n"
	c.FlagSet.VisitAll(func(f *flag.Flag) {
		unit, text := flag.UnquoteUsage(f)
		if unit != "" {
			unit = " " + unit
		}
		if f.DefValue != "" && !strings.Contains(text, "(default ") {
			text += fmt.Sprintf(" (default %s)", strings.ToLower(f.DefValue))
		}
		fmt.Fprintf(&b, "%s  -%s%s\n%s", head, f.Name, unit, wrap(text, 8, 80))
		head = ""
	})
	return b.String()
}

// wrap breaks a text into indented lines of at most width characters.
func wrap(text string, indent, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
			b.WriteString(strings.Repeat(" ", indent))
			column = indent
		case column+1+len(word) > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String() + "\n"
}
