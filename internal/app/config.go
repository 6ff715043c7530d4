// Package app is the composition root: the only package that knows every
// service and every backend. It owns the configuration as a whole, opens the
// store, builds the services that were asked for, runs and closes them. What a
// service does is its own business; arguments and printing are cmd's.
package app

import (
	"net"
	"os"
	"path/filepath"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/telemetry"
	"bigbrotr/internal/services/api"
	"bigbrotr/internal/services/finder"
	"bigbrotr/internal/services/initializer"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/services/refresher"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/services/validator"
)

// Config is the whole configuration.
type Config struct {
	// Data is the folder of everything BigBrotr writes. Empty means the user's
	// data folder.
	Data string `yaml:"data"`
	// Store says where the archive is.
	Store StoreConfig `yaml:"store"`
	// Log says what is logged, and how.
	Log telemetry.LogConfig `yaml:"log"`
	// Debug says where profiles of the process are served.
	Debug telemetry.DebugConfig `yaml:"debug"`
	// Stop says how the process ends.
	Stop StopConfig `yaml:"stop"`
	// Dial says how connections are opened.
	Dial dial.Config `yaml:"dial"`

	// Initializer prepares the store and reads the seeds.
	Initializer initializer.Config `yaml:"initializer"`
	// Finder looks for relay URLs in stored events.
	Finder finder.Config `yaml:"finder"`
	// Validator tries candidates.
	Validator validator.Config `yaml:"validator"`
	// Monitor checks the health of relays.
	Monitor monitor.Config `yaml:"monitor"`
	// Synchronizer archives events.
	Synchronizer synchronizer.Config `yaml:"synchronizer"`
	// Refresher keeps the sums fresh.
	Refresher refresher.Config `yaml:"refresher"`
	// API serves pages and REST.
	API api.Config `yaml:"api"`
}

// StoreConfig says where the archive is.
type StoreConfig struct {
	// URL is sqlite:FILE; empty means the file bigbrotr.db in the data folder.
	URL string `yaml:"url"`
}

// StopConfig says how the process ends.
type StopConfig struct {
	// Grace is how long the page or batch in hand may take to end after SIGINT
	// or SIGTERM.
	Grace config.Duration `yaml:"grace"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{
		Log:          telemetry.DefaultLogConfig(),
		Stop:         StopConfig{Grace: config.Duration(10 * time.Second)},
		Dial:         dial.DefaultConfig(),
		Initializer:  initializer.DefaultConfig(),
		Finder:       finder.DefaultConfig(),
		Validator:    validator.DefaultConfig(),
		Monitor:      monitor.DefaultConfig(),
		Synchronizer: synchronizer.DefaultConfig(),
		Refresher:    refresher.DefaultConfig(),
		API:          api.DefaultConfig(),
	}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "stop.grace", c.Stop.Grace, 0, config.Duration(10*time.Minute))
	if _, err := storeFile(c.StoreURL()); err != nil {
		check.Add("store.url", err.Error(), "write sqlite:FILE")
	}
	if c.Debug.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Debug.Listen); err != nil {
			check.Add("debug.listen", "is not host:port", "write an address such as 127.0.0.1:6060")
		}
	}
}

// Rules are the rules by which relay URLs are accepted.
func (c Config) Rules() relay.Rules { return relay.Rules{AllowLocal: c.Dial.AllowLocal} }

// StoreURL is the URL of the store, with the default filled in.
func (c Config) StoreURL() string {
	if c.Store.URL != "" {
		return c.Store.URL
	}
	return "sqlite:" + filepath.Join(c.dataDir(), "bigbrotr.db")
}

// dataDir is the data folder, with the default filled in: bigbrotr below
// $XDG_DATA_HOME, or below ~/.local/share, or below the working directory where
// there is no home.
func (c Config) dataDir() string {
	if c.Data != "" {
		return c.Data
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "bigbrotr")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "bigbrotr-data"
	}
	return filepath.Join(home, ".local", "share", "bigbrotr")
}
