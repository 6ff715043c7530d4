package main

import (
	"embed"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

//go:embed completion
var completionScripts embed.FS

// completionCmd prints what a shell runs at its start; with words, what could
// stand in the place of the last one, which is what that script asks for.
type completionCmd struct {
	Shell string   `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
	Words []string `arg:"" optional:"" passthrough:"" help:"What stands on the line so far; the script asks with it what fits."`

	model *kong.Application `kong:"-"`
}

// Help is what bigbrotr completion --help says besides.
func (*completionCmd) Help() string {
	return `In ~/.bashrc: source <(bigbrotr completion bash)

In ~/.zshrc, behind compinit: source <(bigbrotr completion zsh)

For fish: bigbrotr completion fish > ~/.config/fish/completions/bigbrotr.fish`
}

// Run prints the script, or the candidates.
func (c *completionCmd) Run(g *Globals) error {
	if len(c.Words) > 0 {
		for _, word := range candidates(c.model.Node, c.Words) {
			fmt.Fprintln(g.terminal.out, word)
		}
		return nil
	}
	script, err := completionScripts.ReadFile("completion/" + c.Shell)
	if err == nil {
		_, err = g.terminal.out.Write(script)
	}
	return err
}

// candidates returns what the last of the words could become: names of commands
// and of flags, and the values of an enumeration. None means a file or free text.
func candidates(node *kong.Node, words []string) []string {
	last := words[len(words)-1]
	flags := node.Flags
	var value *kong.Flag // the flag that waits for its value
	for _, word := range words[:len(words)-1] {
		if value != nil {
			value = nil
			continue
		}
		if strings.HasPrefix(word, "-") {
			if f := flagNamed(flags, word); f != nil && !f.IsBool() {
				value = f
			}
			continue
		}
		for _, child := range node.Children {
			if child.Name == word {
				node = child
				flags = append(flags, child.Flags...)
				break
			}
		}
	}
	var all []string
	switch {
	case value != nil:
		all = value.EnumSlice()
	case strings.HasPrefix(last, "-"):
		for _, f := range flags {
			if !f.Hidden {
				all = append(all, "--"+f.Name)
			}
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				all = append(all, child.Name)
			}
		}
		for _, arg := range node.Positional {
			all = append(all, arg.EnumSlice()...)
		}
	}
	var fits []string
	for _, one := range all {
		if one != "" && strings.HasPrefix(one, last) {
			fits = append(fits, one)
		}
	}
	return fits
}

// flagNamed finds a flag as it stands on the command line; one with its value
// behind an equals sign waits for none.
func flagNamed(flags []*kong.Flag, word string) *kong.Flag {
	for _, f := range flags {
		if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}
