//go:build !race

package nostr

const raceEnabled = false
