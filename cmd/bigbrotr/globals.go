package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/telemetry"
)

// Globals are the flags of every command. Each stands for a key of the
// configuration, over which it wins.
type Globals struct {
	File       string `name:"config" placeholder:"FILE" help:"Configuration file (YAML)."`
	Data       string `placeholder:"DIR" help:"Folder of everything that is written."`
	Store      string `placeholder:"URL" help:"The archive: sqlite:FILE or postgres://USER@HOST:PORT/DATABASE."`
	AllowLocal bool   `help:"Permit loopback and private addresses."`
	LogLevel   string `placeholder:"LEVEL" help:"debug, info, warn or error."`
	JSON       bool   `name:"json" help:"Print one JSON object per result on stdout and nothing else."`

	terminal terminal
}

// envConfig names the configuration file where --config does not.
const envConfig = config.EnvPrefix + "CONFIG"

// load reads the configuration: flag beats environment beats file beats
// default.
func (g *Globals) load(more ...config.Flag) (app.Config, config.Origins, error) {
	flags := more
	add := func(name, path, value string) {
		if value != "" {
			flags = append(flags, config.Flag{Name: name, Path: path, Value: value})
		}
	}
	add("--data", "data", g.Data)
	add("--store", "store.url", g.Store)
	add("--log-level", "log.level", g.LogLevel)
	if g.AllowLocal {
		add("--allow-local", "dial.allow_local", "true")
	}
	cfg := app.DefaultConfig()
	origins, err := config.Load(&cfg, config.Sources{
		File: g.configFile(), Env: g.terminal.env, Reserved: []string{envConfig}, Flags: flags,
	})
	return cfg, origins, err
}

// once reads the configuration of a command that does one thing and ends. Its
// result tells what it did, so only warnings are logged unless a level is set.
func (g *Globals) once() (app.Config, *slog.Logger, error) {
	cfg, origins, err := g.load()
	if err == nil && origins["log.level"] == "" {
		cfg.Log.Level = telemetry.LevelWarn
	}
	return cfg, g.logger(cfg), err
}

// parseURL reads the argument of a command.
func parseURL(cfg app.Config, text string) (relay.URL, error) {
	url, err := cfg.Rules().Parse(text)
	if refused, ok := errors.AsType[*relay.Error](err); ok && refused.Text == "" {
		err = fmt.Errorf("%q: %w", text, err)
	}
	if err != nil {
		err = usageError{err}
	}
	return url, err
}

func (g *Globals) configFile() string {
	if g.File != "" {
		return g.File
	}
	for _, pair := range g.terminal.env {
		if value, ok := strings.CutPrefix(pair, envConfig+"="); ok {
			return value
		}
	}
	return ""
}

// logger logs to stderr: stdout is for results.
func (g *Globals) logger(cfg app.Config) *slog.Logger {
	return telemetry.NewLogger(g.terminal.err, cfg.Log)
}

// print writes one JSON object on a line of its own.
func (g *Globals) print(v any) error {
	enc := json.NewEncoder(g.terminal.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
