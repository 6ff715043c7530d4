package archtest_test

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v4"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
)

const (
	root = "../.."
	base = "base"
)

// deployments returns the names of the folders that are deployments.
func deployments(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != base {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 {
		t.Fatal("there are no deployments")
	}
	return names
}

// project is what Compose makes of a deployment's files, in the fields that the
// tests look at.
type project struct {
	Name     string               `yaml:"name"`
	Services map[string]container `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Secrets map[string]struct {
		File string `yaml:"file"`
	} `yaml:"secrets"`
	text string // of all its files
}

type container struct {
	Image       string            `yaml:"image"`
	Build       any               `yaml:"build"`
	Entrypoint  []string          `yaml:"entrypoint"`
	Command     []string          `yaml:"command"`
	User        string            `yaml:"user"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []string          `yaml:"volumes"`
	Secrets     []string          `yaml:"secrets"`
	Networks    []string          `yaml:"networks"`
	Ports       []string          `yaml:"ports"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Restart     string   `yaml:"restart"`
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	CapAdd      []string `yaml:"cap_add"`
	Privileged  bool     `yaml:"privileged"`
	SecurityOpt []string `yaml:"security_opt"`
	MemLimit    string   `yaml:"mem_limit"`
	Healthcheck struct {
		Test    any  `yaml:"test"`
		Disable bool `yaml:"disable"`
	} `yaml:"healthcheck"`
	Logging struct {
		Options map[string]string `yaml:"options"`
	} `yaml:"logging"`
}

// ours tells whether it runs our binary.
func (c container) ours() bool { return strings.HasPrefix(c.Image, "bigbrotr:") }

// once tells whether it does its work and ends.
func (c container) once() bool { return c.Restart == "no" }

// readProject reads a compose file as Compose does: with what it includes, and
// files of one include merged. What a test needs to know beyond that, Compose
// itself is asked for (make compose).
func readProject(t *testing.T, dir string) project {
	t.Helper()
	var text strings.Builder
	read := func(name string) map[string]any {
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(source)
		file := map[string]any{}
		if err := yaml.Unmarshal(source, &file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return file
	}
	whole := read("compose.yaml")
	includes, _ := whole["include"].([]any)
	for _, include := range includes {
		include := include.(map[string]any)
		if include["project_directory"] != "." {
			t.Errorf("%s: an include without project_directory: . takes the paths of another folder", dir)
		}
		for _, name := range include["path"].([]any) {
			merge(whole, read(name.(string)))
		}
	}
	merged, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	var p project
	if err := yaml.Unmarshal(merged, &p); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	p.text = text.String()
	return p
}

// merge adds a compose file to another: mappings are joined, lists get longer,
// other values are replaced.
func merge(into, from map[string]any) {
	for key, value := range from {
		have, ok := into[key]
		switch value := value.(type) {
		case map[string]any:
			if inner, is := have.(map[string]any); ok && is {
				merged := maps.Clone(inner) // others may share it by an anchor
				merge(merged, value)
				into[key] = merged
				continue
			}
		case []any:
			if list, is := have.([]any); ok && is && key != "command" && key != "entrypoint" {
				joined := slices.Clone(list)
				for _, item := range value {
					if !slices.ContainsFunc(joined, func(other any) bool { return reflect.DeepEqual(item, other) }) {
						joined = append(joined, item)
					}
				}
				into[key] = joined
				continue
			}
		}
		into[key] = value
	}
}

// environment returns what a container's binary finds in its environment, with
// its secrets in a folder.
func (c container) environment(secrets string) []string {
	var env []string
	for name, value := range c.Environment {
		if rest, ok := strings.CutPrefix(value, "file:/run/secrets/"); ok && slices.Contains(c.Secrets, rest) {
			value = "file:" + filepath.Join(secrets, rest)
		}
		env = append(env, name+"="+value)
	}
	return env
}

// load reads the configuration as a container of the deployment would.
func load(dir string, env []string) (app.Config, config.Origins, error) {
	cfg := app.DefaultConfig()
	origins, err := config.Load(&cfg, config.Sources{
		File: filepath.Join(dir, "bigbrotr.yaml"), Env: env, Reserved: []string{config.EnvPrefix + "CONFIG"},
	})
	return cfg, origins, err
}

// makeSecrets runs the script that makes passwords in a copy of a deployment's
// folder, and returns the folder of the passwords.
func makeSecrets(t *testing.T, dir string) string {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(root, "deployments", base, "secrets.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	return filepath.Join(dir, "secrets")
}

// examine checks all that a deployment promises, and returns its project.
func examine(t *testing.T, dir string) project {
	t.Helper()
	t.Chdir(dir) // the configuration may name files beside it
	p := readProject(t, ".")
	secrets := makeSecrets(t, t.TempDir())
	services := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		c := p.Services[name]
		for _, fault := range faults(c, p) {
			t.Errorf("container %s: %s", name, fault)
		}
		if !c.ours() {
			continue
		}
		cfg, _, err := load(".", c.environment(secrets))
		if err != nil {
			t.Errorf("container %s: %v", name, err)
		}
		for _, service := range runs(t, c) {
			if services[service] {
				t.Errorf("two containers run %s", service)
			}
			services[service] = true
			if service == "api" && !strings.HasPrefix(cfg.API.Listen, "0.0.0.0:") {
				t.Errorf("container %s: the api listens on %s, where no port can be published from", name, cfg.API.Listen)
			}
		}
	}
	for _, service := range app.Services() {
		if !services[service] {
			t.Errorf("no container runs %s", service)
		}
	}
	checkVariables(t, p)
	checkDifferences(t)
	return p
}

// runs returns the services that a container runs.
func runs(t *testing.T, c container) []string {
	t.Helper()
	switch {
	case slices.Equal(c.Command, []string{"up"}):
		return app.Services()
	case slices.Equal(c.Command, []string{"init"}):
		return []string{"initializer"}
	case len(c.Command) > 1 && c.Command[0] == "run":
		return c.Command[1:]
	}
	t.Errorf("the command %q runs no service", c.Command)
	return nil
}

var (
	loopback = regexp.MustCompile(`^127\.0\.0\.1:(\$\{[A-Z_]+:-\d+\}|\d+):\d+$`)
	pinned   = regexp.MustCompile(`^[a-z0-9./-]+:(v?\d[\w.-]*|\$\{BIGBROTR_TAG:-[a-z]+\})$`)
	numeric  = regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`)
	secret   = regexp.MustCompile(`(?i)password|secret|token|private_key|_key$`)
)

// faults returns what is wrong with a container by itself.
func faults(c container, p project) (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if !pinned.MatchString(c.Image) || strings.Contains(c.Image, "latest") {
		add("the image %q has no fixed version", c.Image)
	}
	if !numeric.MatchString(c.User) {
		add("the user %q is root, or a name that the engine cannot tell from root", c.User)
	}
	for _, port := range c.Ports {
		if !loopback.MatchString(port) {
			add("the port %q is not published on 127.0.0.1", port)
		}
	}
	if !c.ReadOnly || c.Privileged || len(c.CapAdd) > 0 || !slices.Contains(c.CapDrop, "ALL") || !slices.Contains(c.SecurityOpt, "no-new-privileges:true") {
		add("it may do more than it needs: read_only, cap_drop: [ALL] or no-new-privileges is missing")
	}
	limit, ok := bytesOf(c.MemLimit)
	if !ok {
		add("mem_limit is %q", c.MemLimit)
	}
	if c.ours() {
		if soft, ok := bytesOf(c.Environment["GOMEMLIMIT"]); !ok || soft > limit*95/100 || soft < limit*80/100 {
			add("GOMEMLIMIT is %q, not a little below %s", c.Environment["GOMEMLIMIT"], c.MemLimit)
		}
	}
	if c.Healthcheck.Disable != c.once() || !c.once() && c.Healthcheck.Test == nil {
		add("it has no health check, or one although it ends")
	}
	if c.Restart != "unless-stopped" && !c.once() {
		add("restart is %q", c.Restart)
	}
	if c.Logging.Options["max-size"] == "" || c.Logging.Options["max-file"] == "" {
		add("its log grows without end")
	}
	for name, value := range c.Environment {
		file, ok := strings.CutPrefix(strings.TrimPrefix(value, "file:"), "/run/secrets/")
		switch {
		case ok && !slices.Contains(c.Secrets, file):
			add("%s names the secret %s, which it is not given", name, file)
		case !ok && secret.MatchString(name):
			add("%s holds a secret in plain text", name)
		case strings.Contains(value, "://") && regexp.MustCompile(`://[^/@]*:[^/@]*@`).MatchString(value):
			add("%s holds a URL with a password", name)
		}
	}
	for _, name := range c.Secrets {
		if file := p.Secrets[name].File; !strings.HasPrefix(file, "${SECRETS:-./secrets}/") {
			add("the secret %s is not a file in the folder of secrets", name)
		}
	}
	for name, needed := range c.DependsOn {
		other, ok := p.Services[name]
		switch {
		case !ok:
			add("it depends on %s, which does not exist", name)
		case other.once() != (needed.Condition == "service_completed_successfully"):
			add("it waits for %s by %q", name, needed.Condition)
		}
	}
	for _, network := range c.Networks {
		if _, ok := p.Networks[network]; !ok {
			add("there is no network %s", network)
		}
	}
	return list
}

// bytesOf reads a size as Compose and Go write it.
func bytesOf(text string) (int64, bool) {
	digits := strings.TrimRight(text, "kmgKMGiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift, ok := map[string]int{"k": 10, "m": 20, "g": 30}[strings.TrimSuffix(strings.ToLower(text[len(digits):]), "ib")]
	return n << shift, err == nil && ok && n > 0
}

var variable = regexp.MustCompile(`\$\{([A-Z_]+)(:-[^}]*)?\}`)

// checkVariables looks whether every variable of the compose files has a default
// and stands in .env.example, and no other does.
func checkVariables(t *testing.T, p project) {
	t.Helper()
	used := map[string]bool{}
	for _, found := range variable.FindAllStringSubmatch(p.text, -1) {
		used[found[1]] = true
		if found[2] == "" {
			t.Errorf("%s has no default", found[0])
		}
	}
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for line := range strings.Lines(string(example)) {
		if name, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			told[name] = true
			if secret.MatchString(name) && name != "SECRETS" {
				t.Errorf(".env.example asks for a secret: %s", name)
			}
		}
	}
	if !maps.Equal(used, told) {
		t.Errorf("the compose files use the variables %v, .env.example tells of %v", slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(told)))
	}
}

// checkDifferences looks whether the file says only what differs from the
// defaults.
func checkDifferences(t *testing.T) {
	t.Helper()
	cfg, origins, err := load(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	defaults := app.DefaultConfig()
	have, want := config.Values(&cfg), config.Values(&defaults)
	for path := range origins {
		if value := at(have, path); value != nil && reflect.DeepEqual(value, at(want, path)) {
			t.Errorf("bigbrotr.yaml sets %s to its default", path)
		}
	}
}

// at returns the value of a key, nil for a section or an item of a list.
func at(values map[string]any, path string) any {
	section, rest, found := strings.Cut(path, ".")
	if inner, ok := values[section].(map[string]any); ok {
		if !found {
			return nil
		}
		return at(inner, rest)
	}
	return values[section]
}

func TestDeployments(t *testing.T) {
	dir := filepath.Join(root, "deployments")
	names, examined := map[string]string{}, 0
	for _, name := range deployments(t, dir) {
		t.Run(name, func(t *testing.T) {
			p := examine(t, filepath.Join(dir, name))
			if other, taken := names[p.Name]; taken || p.Name == "" {
				t.Errorf("the project's name %q is that of %q", p.Name, other)
			}
			names[p.Name] = name
			examined++
			if _, ok := p.Services["postgres"]; ok {
				checkNetworks(t, p)
				checkConnections(t, p)
			}
		})
	}
	if examined < 3 {
		t.Errorf("only %d deployments were examined", examined)
	}
}

// checkNetworks looks whether the database can be reached by those alone who
// need it.
func checkNetworks(t *testing.T, p project) {
	t.Helper()
	for _, name := range []string{"postgres", "pgbouncer"} {
		if len(p.Services[name].Ports) > 0 {
			t.Errorf("%s publishes a port", name)
		}
		for _, network := range p.Services[name].Networks {
			if !p.Networks[network].Internal {
				t.Errorf("%s is on the network %s, which is not internal", name, network)
			}
		}
	}
	for name, c := range p.Services {
		if c.ours() && slices.Contains(c.Networks, "database") != (name == "initializer") {
			t.Errorf("%s: only the initializer speaks to PostgreSQL directly", name)
		}
		if len(c.Ports) > 0 && !slices.Contains(c.Networks, "outside") {
			t.Errorf("%s publishes a port, but is on internal networks only", name)
		}
	}
}

// setting returns a number of a file of key = value lines.
func setting(t *testing.T, file, key string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../base", file))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + key + ` *= *(\d+)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s does not set %s", file, key)
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// checkConnections adds up connections.
func checkConnections(t *testing.T, p project) {
	t.Helper()
	const (
		reserved = 3  // superuser_reserved_connections
		people   = 10 // psql, doctor, backups, metrics
		copies   = 3  // of every service, by --scale
	)
	cfg, _, err := load(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	pool, most := setting(t, "pgbouncer/pgbouncer.ini", "default_pool_size"), setting(t, "pgbouncer/pgbouncer.ini", "max_db_connections")
	clients := map[string]int{} // by role, through PgBouncer
	direct, all := 0, 0
	for _, c := range p.Services {
		if !c.ours() {
			continue
		}
		url := c.Environment["BIGBROTR_STORE_URL"]
		if url == "" {
			url = cfg.Store.URL
		}
		role, host, _ := strings.Cut(strings.TrimPrefix(url, "postgres://"), "@")
		connections := cfg.Store.Connections
		if text := c.Environment["BIGBROTR_STORE_CONNECTIONS"]; text != "" {
			if connections, err = strconv.Atoi(text); err != nil {
				t.Error(err)
			}
		}
		if strings.HasPrefix(host, "postgres:") {
			direct += connections
			continue
		}
		clients[role] += connections
		all += connections
	}
	if len(clients) != 2 {
		t.Errorf("these roles come through PgBouncer: %v", clients)
	}
	lent := 0
	for role, n := range clients {
		if n > pool {
			t.Errorf("%s has %d connections, PgBouncer lends %d to a role: some would wait", role, n, pool)
		}
		lent += min(n, pool)
	}
	if lent > most {
		t.Errorf("the roles use %d connections, PgBouncer has %d", lent, most)
	}
	if have, need := setting(t, "postgres/postgresql.conf", "max_connections"), most+direct+reserved+people; have < need {
		t.Errorf("PostgreSQL takes %d connections, of which %d may be needed", have, need)
	}
	if have := setting(t, "pgbouncer/pgbouncer.ini", "max_client_conn"); have < all*copies {
		t.Errorf("PgBouncer takes %d clients, %d copies of the services are %d", have, copies, all*copies)
	}
}

// TestFaults breaks each rule once.
func TestFaults(t *testing.T) {
	p := readProject(t, filepath.Join(root, "deployments", "bigbrotr"))
	tests := []struct {
		name  string
		spoil func(*container)
		want  string
	}{
		{"as it is", func(*container) {}, ""},
		{"port for all", func(c *container) { c.Ports = []string{"8080:8080"} }, "not published on 127.0.0.1"},
		{"port of another address", func(c *container) { c.Ports = []string{"0.0.0.0:8080:8080"} }, "not published on 127.0.0.1"},
		{"no limit", func(c *container) { c.MemLimit = "" }, "mem_limit"},
		{"limit below the soft one", func(c *container) { c.MemLimit = "512m" }, "GOMEMLIMIT"},
		{"no health check", func(c *container) { c.Healthcheck.Test = nil }, "health check"},
		{"root", func(c *container) { c.User = "0:0" }, "is root"},
		{"user of the image", func(c *container) { c.User = "" }, "is root"},
		{"latest", func(c *container) { c.Image = "postgres:latest" }, "no fixed version"},
		{"no tag", func(c *container) { c.Image = "postgres" }, "no fixed version"},
		{"writable", func(c *container) { c.ReadOnly = false }, "more than it needs"},
		{"endless log", func(c *container) { c.Logging.Options = nil }, "log grows"},
		{"password", func(c *container) { c.Environment["POSTGRES_PASSWORD"] = "hunter2" }, "plain text"},
		{"password in a URL", func(c *container) { c.Environment["BIGBROTR_STORE_URL"] = "postgres://u:hunter2@h/d" }, "URL with a password"},
		{"password of another", func(c *container) { c.Environment["BIGBROTR_STORE_PASSWORD"] = "file:/run/secrets/owner_password" }, "not given"},
		{"does not wait for the end", func(c *container) {
			c.DependsOn = map[string]struct {
				Condition string `yaml:"condition"`
			}{"initializer": {"service_started"}}
		}, "waits for initializer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := p.Services["api"]
			c.Environment = maps.Clone(c.Environment)
			tt.spoil(&c)
			got := strings.Join(faults(c, p), "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestCompose asks Docker Compose whether it takes the files, also those of the
// walk-through, and whether it reads them as readProject does.
func TestCompose(t *testing.T) {
	program := os.Getenv("COMPOSE")
	if program == "" {
		t.Skip("make compose runs this")
	}
	dir := filepath.Join(t.TempDir(), "deployments")
	copyTree(t, filepath.Join(root, "deployments"), dir)
	follow(t, filepath.Dir(dir))
	for _, name := range deployments(t, dir) {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program, "--env-file", ".env.example", "config", "--format", "json")
			cmd.Dir = filepath.Join(dir, name)
			var complaints bytes.Buffer
			cmd.Stderr = &complaints
			out, err := cmd.Output()
			if err != nil || complaints.Len() > 0 {
				t.Fatalf("%v\n%s", err, complaints.Bytes())
			}
			var theirs struct {
				Name     string
				Services map[string]struct {
					Command, Entrypoint []string
					User                string
					Environment         map[string]string
					Networks            map[string]any
					Secrets             []struct{ Source string }
					DependsOn           map[string]any `json:"depends_on"`
				}
			}
			if err := json.Unmarshal(out, &theirs); err != nil {
				t.Fatal(err)
			}
			ours := readProject(t, cmd.Dir)
			if theirs.Name != ours.Name || len(theirs.Services) != len(ours.Services) {
				t.Errorf("Compose reads %s of %d services, the tests %s of %d", theirs.Name, len(theirs.Services), ours.Name, len(ours.Services))
			}
			for name, c := range ours.Services {
				other := theirs.Services[name]
				secrets := []string{}
				for _, s := range other.Secrets {
					secrets = append(secrets, s.Source)
				}
				networks := c.Networks
				if networks == nil {
					networks = []string{"default"}
				}
				for what, pair := range map[string][2]any{
					"command":     {other.Command, c.Command},
					"entrypoint":  {other.Entrypoint, c.Entrypoint},
					"user":        {other.User, c.User},
					"environment": {other.Environment, c.Environment},
					"networks":    {slices.Sorted(maps.Keys(other.Networks)), slices.Sorted(slices.Values(networks))},
					"secrets":     {slices.Sorted(slices.Values(secrets)), slices.Sorted(slices.Values(c.Secrets))},
					"depends_on":  {slices.Sorted(maps.Keys(other.DependsOn)), slices.Sorted(maps.Keys(c.DependsOn))},
				} {
					if diff := cmp.Diff(pair[0], pair[1], cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("%s of %s (-Compose +tests):\n%s", what, name, diff)
					}
				}
			}
		})
	}
}

// follow does in a folder above deployments what the walk-through of
// deployments/README.md says.
func follow(t *testing.T, dir string) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "deployments", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## A deployment of your own\n")
	_, script, _ := strings.Cut(section, "```sh\n")
	script, _, found := strings.Cut(script, "```")
	if n := strings.Count(script, "\n"); !found || n > 15 {
		t.Fatalf("the walk-through has %d lines", n)
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestCustomDeployment examines what the walk-through makes.
func TestCustomDeployment(t *testing.T) {
	dir := t.TempDir()
	copyTree(t, filepath.Join(root, "deployments"), filepath.Join(dir, "deployments"))
	before := deployments(t, filepath.Join(dir, "deployments"))
	follow(t, dir)
	after := deployments(t, filepath.Join(dir, "deployments"))
	if len(after) != len(before)+1 {
		t.Fatalf("there are %v after the walk-through", after)
	}
	const name = "mybrotr"
	custom := filepath.Join(dir, "deployments", name)
	p := examine(t, custom)
	if p.Name != name {
		t.Errorf("its project is named %q", p.Name)
	}
	checkNetworks(t, p)
	checkConnections(t, p)
	cfg, _, err := load(".", p.Services["initializer"].environment(makeSecrets(t, t.TempDir())))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Synchronizer.Parallel != 5 || cfg.Initializer.Seeds != "seeds.txt" || cfg.Store.Keep != "index" {
		t.Errorf("the differences have not arrived: %+v, %+v, %q", cfg.Synchronizer, cfg.Initializer, cfg.Store.Keep)
	}
	if !slices.Contains(p.Services["initializer"].Volumes, "./seeds.txt:/etc/bigbrotr/seeds.txt:ro") {
		t.Error("the seeds are not mounted")
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rest)
		switch {
		case d.IsDir() && d.Name() == "secrets":
			return fs.SkipDir // of somebody who runs it here
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Name() == ".env":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestImage does what can be done of the Dockerfile without an engine: it
// builds the binary by the same line from what the image's context holds.
func TestImage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deployments", base, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := os.ReadFile(filepath.Join(root, "deployments", base, "Dockerfile.dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(ignore, []byte("\n*\n")) {
		t.Error("the context holds more than is named")
	}
	module, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)[1]
	if !bytes.Contains(text, []byte("FROM golang:"+string(version)+"-")) {
		t.Errorf("the image is not built by Go %s, as go.mod asks", version)
	}

	context, build := t.TempDir(), ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 2 && fields[0] == "COPY" && !strings.HasPrefix(fields[1], "--from="):
			for _, source := range fields[1 : len(fields)-1] {
				if !bytes.Contains(ignore, []byte("\n!"+source+"\n")) {
					t.Errorf("%s is not in the context", source)
				}
				from := filepath.Join(root, source)
				if info, err := os.Stat(from); err != nil {
					t.Errorf("COPY: %v", err)
				} else if info.IsDir() {
					copyTree(t, from, filepath.Join(context, source))
				} else if text, err := os.ReadFile(from); err != nil {
					t.Error(err)
				} else if err := os.WriteFile(filepath.Join(context, source), text, 0o600); err != nil {
					t.Error(err)
				}
			}
		case strings.Contains(line, "go build"):
			build = strings.TrimPrefix(strings.TrimSpace(line), "RUN ")
		}
	}
	for _, want := range []string{"FROM scratch\n", "\nUSER 65532:65532\n", "\nHEALTHCHECK ", "/etc/ssl/certs/ca-certificates.crt"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
	binary := filepath.Join(t.TempDir(), "bigbrotr")
	build = strings.Replace(build, "/image/bigbrotr", binary, 1)
	if !strings.Contains(build, binary) || !strings.HasPrefix(build, "CGO_ENABLED=0 ") {
		t.Fatalf("the line that builds the binary is %q", build)
	}
	cmd := exec.Command("sh", "-c", build)
	cmd.Dir = context
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary is not static: it has a %s", p.Type)
		}
	}
}

// TestMounts checks that what compose files mount of the repository is there,
// and that the containers' programs find the files where they look.
func TestMounts(t *testing.T) {
	dir := filepath.Join(root, "deployments")
	for _, name := range deployments(t, dir) {
		p := readProject(t, filepath.Join(dir, name))
		for service, c := range p.Services {
			for _, volume := range c.Volumes {
				parts := strings.Split(volume, ":")
				if !strings.HasPrefix(parts[0], ".") {
					continue // a volume of the engine
				}
				if _, err := os.Stat(filepath.Join(dir, name, parts[0])); err != nil {
					t.Errorf("%s, %s: %v", name, service, err)
				}
				if len(parts) != 3 || parts[2] != "ro" {
					t.Errorf("%s, %s: %s can be written to", name, service, volume)
				}
				words := strings.Join(append(slices.Concat(c.Entrypoint, c.Command), slices.Collect(maps.Values(c.Environment))...), " ")
				if !strings.Contains(words, parts[1]) && !strings.HasPrefix(parts[1], "/docker-entrypoint-initdb.d/") {
					t.Errorf("%s, %s: nothing reads %s", name, service, parts[1])
				}
			}
		}
	}
}
