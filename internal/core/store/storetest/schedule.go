package storetest

import "testing"

func testSchedule(t *testing.T, open opener) {}
