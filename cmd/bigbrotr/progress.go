package main

import (
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress draws bars on stderr when a person watches it there.
func (g *Globals) progress() *mpb.Progress {
	if f, ok := g.terminal.err.(*os.File); ok && !g.JSON {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return mpb.New(mpb.WithOutput(f))
		}
	}
	return mpb.New(mpb.WithOutput(nil))
}

// bar shows how far a piece of work is.
type bar struct {
	all *mpb.Progress
	one *mpb.Bar
}

// bytesBar shows bytes read out of size, which is 0 when unknown.
func (g *Globals) bytesBar(name string, size int64) bar {
	all := g.progress()
	one := all.AddBar(size,
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 8})),
	)
	return bar{all, one}
}

// countBar shows a count whose end is not known.
func (g *Globals) countBar(what string) bar {
	all := g.progress()
	one := all.AddSpinner(0, mpb.AppendDecorators(decor.CurrentNoUnit("%d "+what)))
	return bar{all, one}
}

func (b bar) set(n int64) { b.one.SetCurrent(n) }

// of shows n out of all.
func (b bar) of(n, all int64) {
	b.one.SetTotal(all, false)
	b.one.SetCurrent(n)
}

// done ends the bar wherever it stands.
func (b bar) done() {
	b.one.SetTotal(-1, true)
	b.all.Wait()
}
