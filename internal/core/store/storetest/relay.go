package storetest

import "testing"

func testRelays(t *testing.T, open opener) {}
