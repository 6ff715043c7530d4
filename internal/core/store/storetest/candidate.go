package storetest

import "testing"

func testCandidates(t *testing.T, open opener) {}
