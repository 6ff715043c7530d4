package storetest

import "testing"

func testCoverages(t *testing.T, open opener) {}
