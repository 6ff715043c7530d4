package storetest

import "testing"

func testChecks(t *testing.T, open opener) {}
