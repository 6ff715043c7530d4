package storetest

import "testing"

func testRollups(t *testing.T, open opener) {}
