package storetest

import "testing"

func testReads(t *testing.T, open opener) {}
