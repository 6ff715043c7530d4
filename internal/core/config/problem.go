package config

import (
	"cmp"
	"fmt"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	Where   string // "bigbrotr.yaml:12", a variable, a flag, or "default"
	Path    string // of the key; empty when the problem is not about one
	Message string // what is wrong, read after the path
	Remedy  string // what to do
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Where)
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	b.WriteString(": " + p.Message)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// Problems is the error of Load: all that is wrong, one problem a line, in the
// order of the sources and then of the checks.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Check collects what Validate finds wrong in one section.
type Check struct {
	loader *loader
	path   string // of the section
}

// Add reports that the value of a key cannot work. The key is relative to the
// section; an empty one means the section itself. The message is read after the
// path of the key ("must not be before first"), the remedy tells what to do. A
// key whose text could not even be read is not reported twice.
func (c *Check) Add(key, message, remedy string) {
	path := join(c.path, key)
	if c.loader.failed[path] {
		return
	}
	c.loader.problems = append(c.loader.problems, Problem{
		Where: c.loader.origins.of(path), Path: path, Message: message, Remedy: remedy,
	})
}

// InRange reports a value that is not from low to high, both included.
func InRange[T cmp.Ordered](c *Check, key string, value, low, high T) {
	if value < low || value > high {
		c.Add(key, fmt.Sprintf("is %v", value), fmt.Sprintf("choose from %v to %v", low, high))
	}
}

// of tells where the value at path, or the nearest section or list around it
// that anything was said about, comes from.
func (o Origins) of(path string) string {
	for path != "" {
		if where, ok := o[path]; ok {
			return where
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return "default"
}

// join puts a key behind the path of its section.
func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "":
		return path
	}
	return path + "." + key
}

// nearest finds the name that a mistyped one most likely means, or "".
func nearest(name string, names []string) string {
	best, distance := "", len(name)/3+1
	for _, candidate := range names {
		if d := edits(name, candidate); d <= distance && (best == "" || d < distance) {
			best, distance = candidate, d
		}
	}
	return best
}

// edits counts the bytes to insert, delete or replace between a and b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substituted := diagonal
			if a[i] != b[j] {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, substituted)
		}
	}
	return row[len(b)]
}
