package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"bigbrotr/internal/simnet"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bigbrotr": main})
}

// TestScripts runs testdata/script: what a person or a script sees of the
// program, one story a file.
func TestScripts(t *testing.T) {
	// Signed once: 300 events and the same with damage.
	events := simnet.Generate(simnet.Plan{Seed: 7, Count: 300, Since: 1_600_000_000, Until: 1_700_000_000})
	var good bytes.Buffer
	if err := simnet.WriteEvents(&good, events); err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSpace(good.Bytes()), []byte("\n"))
	damaged := slices.Concat(lines[:10], [][]byte{
		[]byte("\n"),
		[]byte("not json\n"),
		simnet.ForgeSig(events[10]).JSON, []byte("\n"),
		simnet.ForgeText(events[11]).JSON, []byte("\n"),
	}, lines[12:20], [][]byte{lines[12][:len(lines[12])/2]})

	network := simnet.New(7)
	t.Cleanup(network.Close)
	relay, err := network.AddRelay(simnet.Behaviour{Cap: 50})
	if err != nil {
		t.Fatal(err)
	}
	relay.Add(events...)
	dead, err := network.AddDead()
	if err != nil {
		t.Fatal(err)
	}

	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for name, text := range map[string][]byte{
				"events.jsonl":     good.Bytes(),
				"events.jsonl.zst": compress(t, good.Bytes()),
				"damaged.jsonl":    bytes.Join(damaged, nil),
				"cut.jsonl.zst":    compress(t, good.Bytes())[:good.Len()/8],
			} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o600); err != nil {
					return err
				}
			}
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", "")
			busy, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = busy.Close() })
			env.Setenv("BUSY", busy.Addr().String())
			env.Setenv("RELAY", relay.URL().String())
			env.Setenv("DEAD", dead.String())
			return nil
		},
	})
}

func compress(t *testing.T, text []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(text, nil)
}
