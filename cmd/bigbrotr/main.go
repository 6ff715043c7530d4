// Command bigbrotr observes and archives the Nostr network. This package parses
// arguments and prints results, one file per command; what the commands do is
// in internal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"bigbrotr/internal/core/config"
)

// The exit codes that scripts can rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitPart   = 3 // done in part: some lines rejected, some relays unreachable
)

// errPart ends a command that did a part of its work and has said so itself.
var errPart = errors.New("done in part")

// errSaid ends a command that failed and has said so itself.
var errSaid = errors.New("failed")

// errStopped ends a command that was asked to stop and loses nothing by it.
var errStopped = errors.New("stopped before the end; run it again to go on")

// usageError is an argument that cannot be used.
type usageError struct{ error }

// cli is the command line.
type cli struct {
	Globals

	Up       upCmd       `cmd:"" help:"Run everything: discover, check, archive, serve pages. Needs no file and no server."`
	Run      runCmd      `cmd:"" help:"Run the named services only."`
	Demo     demoCmd     `cmd:"" help:"Run everything against a simulated network on loopback, and compare the archive with the truth."`
	Init     initCmd     `cmd:"" help:"Prepare the store: schema and seed relays."`
	Check    checkCmd    `cmd:"" help:"Check one relay now and report every probe."`
	Sync     syncCmd     `cmd:"" help:"Archive the events of relays now, and prove what is held."`
	Relays   relaysCmd   `cmd:"" help:"See and change the set of relays: list, add, remove, ban, unban, recheck."`
	Coverage coverageCmd `cmd:"" help:"Show what of a relay is proved to be held, and what is not."`
	Status   statusCmd   `cmd:"" help:"Show what the archive holds."`
	Import   importCmd   `cmd:"" help:"Import events from JSONL files, also compressed with zstd."`
	Export   exportCmd   `cmd:"" help:"Export events as JSONL, in the order of the archive."`
	Migrate  migrateCmd  `cmd:"" help:"Bring the schema of the store to this version."`
	Copy     copyCmd     `cmd:"" help:"Copy an archive into another database, SQLite or PostgreSQL, and compare them."`
	Thin     thinCmd     `cmd:"" help:"Make an index of a full archive: drop tags, content and signatures for good."`
	Backup   backupCmd   `cmd:"" help:"Copy the archive's file as it is now, also while services run."`
	Restore  restoreCmd  `cmd:"" help:"Make an archive of a backup."`
	Compact  compactCmd  `cmd:"" help:"Give space that the archive's file no longer uses back."`
	Doctor   doctorCmd   `cmd:"" help:"Look at the store, its settings, proxies and clocks, and say what to do."`
	Healthy  healthyCmd  `cmd:"" help:"Ask the running process whether it is ready, for health checks."`
	URL      urlCmd      `cmd:"" name:"url" help:"Show the canonical form of a relay URL, or why it is none."`
	Config   configCmd   `cmd:"" help:"Show, check or describe the configuration."`
	Version  versionCmd  `cmd:"" help:"Show the version."`

	Completion completionCmd `cmd:"" help:"Print a script that lets a shell complete commands and flags."`
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		// Asked twice: whatever is in hand is repeated after the next start.
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Environ()}))
}

// terminal is where a command reads and prints.
type terminal struct {
	in  io.Reader
	out io.Writer
	err io.Writer
	env []string
}

func run(ctx context.Context, args []string, t terminal) int {
	code := -1
	var c cli
	parser, err := kong.New(&c,
		kong.Name("bigbrotr"),
		kong.Description("Observatory and archive of the Nostr network."),
		kong.Writers(t.out, t.err),
		kong.Exit(func(n int) { code = n }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	c.Completion.model = parser.Model
	parsed, err := parser.Parse(args)
	if code >= 0 {
		return code // --help has been printed
	}
	if err != nil {
		fmt.Fprintf(t.err, "bigbrotr: %v\nSee bigbrotr --help.\n", err)
		return exitUsage
	}
	c.terminal = t
	return exitCode(parsed.Run(&c.Globals), t.err)
}

func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errPart) {
		return exitPart
	}
	if errors.Is(err, errSaid) {
		return exitFailed
	}
	fmt.Fprintf(stderr, "bigbrotr: %v\n", err)
	if errors.Is(err, errStopped) {
		return exitDone
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[config.Problems](err); ok {
		return exitUsage
	}
	return exitFailed
}
