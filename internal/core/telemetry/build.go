package telemetry

import (
	"runtime/debug"
	"strings"
)

// Build says what the binary was made from, as the Go toolchain recorded it.
type Build struct {
	Version  string `json:"version"`            // of the module; "(devel)" outside a release
	Revision string `json:"revision,omitempty"` // of the version control, when known
	Modified bool   `json:"modified,omitempty"` // the tree had changes besides the revision
	Time     string `json:"time,omitempty"`     // of the revision, RFC 3339
	Go       string `json:"go"`                 // version of the toolchain
}

// ReadBuild returns the build of the running binary.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Build{Version: "unknown", Go: "unknown"}
	}
	return fromInfo(info)
}

func fromInfo(info *debug.BuildInfo) Build {
	b := Build{Version: info.Main.Version, Go: info.GoVersion}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		case "vcs.time":
			b.Time = setting.Value
		}
	}
	return b
}

// String returns one line for people: "v1.2.0 (3f0c2a9b1d4e, changed) go1.26.0".
func (b Build) String() string {
	var notes []string
	if b.Revision != "" {
		notes = append(notes, b.Revision[:min(len(b.Revision), 12)])
	}
	if b.Modified {
		notes = append(notes, "changed")
	}
	s := b.Version
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, ", ") + ")"
	}
	return s + " " + b.Go
}
