// Package archtest checks that the source tree keeps the rules of the house:
// which package may import which, that every package says what it owns, and a
// few habits that a reviewer should not have to look for. It has tests only.
// What the rules are good for is told in docs/architecture.md.
package archtest
