// Package app is the composition root: the only package that knows every
// service and every backend. It owns the configuration as a whole, opens the
// store, builds the services that were asked for, runs and closes them. What a
// service does is its own business; arguments and printing are cmd's.
package app

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/telemetry"
	"bigbrotr/internal/services/api"
	"bigbrotr/internal/services/dvm"
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
	// Health says where the process tells how it is.
	Health telemetry.HealthConfig `yaml:"health"`
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
	// DVM answers questions that are published to relays (NIP-90).
	DVM dvm.Config `yaml:"dvm"`
}

// StoreConfig says where the archive is and what it keeps.
type StoreConfig struct {
	// URL is sqlite:FILE or postgres://USER@HOST:PORT/DATABASE; empty means the
	// file bigbrotr.db in the data folder. PgBouncer may stand before
	// PostgreSQL.
	URL string `yaml:"url"`
	// Password is that of the URL's user.
	Password config.Secret `yaml:"password"`
	// Connections is how many connections a process opens to PostgreSQL at
	// most.
	Connections int `yaml:"connections"`
	// ConnectTimeout bounds the opening of a connection to PostgreSQL.
	ConnectTimeout config.Duration `yaml:"connect_timeout"`
	// RetryFor is how long work is tried again while PostgreSQL is away, before
	// it counts as failed.
	RetryFor config.Duration `yaml:"retry_for"`
	// Keep is full, or index: of most events ids, authors, times, kinds and
	// hashes of tags only. A database stays what it was made as.
	Keep store.KeepMode `yaml:"keep"`
	// KeepFullKinds are the kinds that are kept whole in an index too.
	KeepFullKinds []nostr.Kind `yaml:"keep_full_kinds"`
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
		Store: StoreConfig{
			Connections: 8, ConnectTimeout: config.Duration(5 * time.Second), RetryFor: config.Duration(30 * time.Second),
			Keep: store.KeepFull, KeepFullKinds: store.DefaultFullKinds(),
		},
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
		DVM:          dvm.DefaultConfig(),
	}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "stop.grace", c.Stop.Grace, 0, config.Duration(10*time.Minute))
	c.Store.validate(check, c.StoreURL())
	if c.Refresher.Search && c.Store.Keep == store.KeepIndex {
		check.Add("refresher.search", "cannot be on in an archive that keeps no texts", "set store.keep to full, or refresher.search to false")
	}
	for name, address := range map[string]string{"debug.listen": c.Debug.Listen, "health.listen": c.Health.Listen} {
		if address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			check.Add(name, "is not host:port", "write an address such as 127.0.0.1:6060")
		}
	}
}

func (c StoreConfig) validate(check *config.Check, url string) {
	if _, err := parseStoreURL(url); err != nil {
		check.Add("store.url", err.Error(), "write sqlite:FILE or postgres://USER@HOST:PORT/DATABASE")
	}
	config.InRange(check, "store.connections", c.Connections, 1, 100)
	config.InRange(check, "store.connect_timeout", c.ConnectTimeout, config.Duration(100*time.Millisecond), config.Duration(time.Minute))
	config.InRange(check, "store.retry_for", c.RetryFor, 0, config.Duration(time.Hour))
	if c.Keep != store.KeepFull && c.Keep != store.KeepIndex {
		check.Add("store.keep", fmt.Sprintf("must not be %q", string(c.Keep)), "write full or index")
	}
}

// keep is the policy of the archive.
func (c StoreConfig) keep() store.Keep {
	if c.Keep != store.KeepIndex {
		return store.Keep{Mode: store.KeepFull}
	}
	return store.Keep{Mode: store.KeepIndex, FullKinds: c.KeepFullKinds}
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
