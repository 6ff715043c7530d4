// Package storetest is the conformance suite of the store: every promise that
// package store makes, as tests over any backend. It owns no database and knows
// none; a backend's own test is one call of Run.
package storetest

import (
	"testing"

	"bigbrotr/internal/core/store"
)

// Run tests every role. Open returns an empty store whose schema is migrated;
// it is called once for each test that needs one, and Run closes what it gets.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, role := range []struct {
		name string
		test func(*testing.T, opener)
	}{
		{"relay", testRelays},
		{"candidate", testCandidates},
		{"schedule", testSchedule},
		{"archive", testArchive},
		{"coverage", testCoverages},
		{"check", testChecks},
		{"rollup", testRollups},
		{"read", testReads},
	} {
		t.Run(role.name, func(t *testing.T) { role.test(t, open) })
	}
}

type opener func(t *testing.T) store.Store
