// Package telemetry owns how the process speaks about itself: the logger, the
// metrics registry and its page, the profiling server, and the version the
// binary was built from. What is logged and measured belongs to the packages
// that do the work; each gets a logger and a registerer handed to it.
package telemetry

import (
	"io"
	"log/slog"
	"os"
	"time"
)

// Level is the least level that is logged.
type Level string

// The levels by name.
const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// Choices lists the levels that exist.
func (Level) Choices() []string {
	return []string{string(LevelDebug), string(LevelInfo), string(LevelWarn), string(LevelError)}
}

func (l Level) slog() slog.Level {
	switch l {
	case LevelDebug:
		return slog.LevelDebug
	case LevelWarn:
		return slog.LevelWarn
	case LevelError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Format is the form of a log line.
type Format string

// The formats by name.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Choices lists the formats that exist.
func (Format) Choices() []string { return []string{string(FormatText), string(FormatJSON)} }

// LogConfig says what is logged, and how.
type LogConfig struct {
	// Level is the least level that is logged. Debug has one line for each relay
	// that is read or checked, info one for each cycle of a service.
	Level Level `yaml:"level"`
	// Format is the form of a line: text has key=value pairs, json one object.
	Format Format `yaml:"format"`
}

// DefaultLogConfig returns the values of keys that are not set.
func DefaultLogConfig() LogConfig { return LogConfig{Level: LevelInfo, Format: FormatText} }

// NewLogger returns a logger that writes to w. Text on a terminal carries the
// time of day only: whoever reads it there is watching.
func NewLogger(w io.Writer, cfg LogConfig) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.Level.slog()}
	if cfg.Format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	if isTerminal(w) {
		opts.ReplaceAttr = shortTime
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(a.Key, a.Value.Time().Format(time.TimeOnly))
	}
	return a
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
