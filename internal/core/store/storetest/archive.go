package storetest

import "testing"

func testArchive(t *testing.T, open opener) {}
