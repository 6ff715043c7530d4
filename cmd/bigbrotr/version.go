package main

import (
	"fmt"

	"bigbrotr/internal/core/telemetry"
)

type versionCmd struct{}

// Run prints what the build recorded of itself.
func (*versionCmd) Run(g *Globals) error {
	build := telemetry.ReadBuild()
	if g.JSON {
		return g.print(build)
	}
	_, err := fmt.Fprintln(g.terminal.out, "bigbrotr", build)
	return err
}
