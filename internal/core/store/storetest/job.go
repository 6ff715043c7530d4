package storetest

import (
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// job is one of any number of requests for work, taken at base.
func job(n int) store.Job {
	return store.Job{
		ID: nostr.ID(author(1000 + n)), Customer: author(n), At: base, Request: []byte{'{', 0, '}'}, State: store.JobOpen,
	}
}

// dueJobs leases jobs and returns them.
func (f *fixture) dueJobs(now int64, limit int, owner string) []store.Job {
	f.t.Helper()
	jobs, err := f.DueJobs(f.ctx, store.Due{Now: now, Limit: limit, Owner: owner, Until: now + 100})
	f.must(err)
	return jobs
}

func (f *fixture) addJob(j store.Job, owner string, want bool) {
	f.t.Helper()
	added, err := f.AddJob(f.ctx, j, store.Lease{Owner: owner, Until: base + 100})
	f.must(err)
	f.equal("added", want, added)
}

func (f *fixture) saveJob(j store.Job, lease store.Lease, dueAt int64, want bool) {
	f.t.Helper()
	saved, err := f.SaveJob(f.ctx, j, lease, dueAt)
	f.must(err)
	f.equal("saved", want, saved)
}

func testJobs(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"taken once": func(_ *testing.T, f *fixture) {
			one := job(1)
			f.addJob(one, "a", true)
			f.addJob(one, "a", false)
			f.addJob(one, "b", false)
			f.equal("while a works on it", 0, len(f.dueJobs(base+99, 9, "b")))
			f.equal("when the lease has ended", []store.Job{one}, f.dueJobs(base+100, 9, "b"))
			one.State, one.Answer = store.JobAnswered, []byte("late")
			f.saveJob(one, store.Lease{Owner: "a"}, base, false)
			f.equal("nothing of a", 0, len(f.dueJobs(base+101, 9, "c")))
		},
		"due": func(_ *testing.T, f *fixture) {
			for n := range 4 {
				f.addJob(job(n), "a", true)
			}
			for n, at := range map[int]int64{0: base + 30, 1: base + 10, 2: base + 20} {
				j := job(n)
				j.State, j.Payment = store.JobUnpaid, []byte("invoice")
				f.saveJob(j, store.Lease{Owner: "a"}, at, true)
			}
			f.equal("zero limit", 0, len(f.dueJobs(base+50, 0, "b")))
			f.equal("none due", 0, len(f.dueJobs(base+9, 9, "b")))
			var ids []nostr.ID
			for _, j := range f.dueJobs(base+50, 2, "b") {
				f.equal("payment", "invoice", string(j.Payment))
				f.equal("state", store.JobUnpaid, j.State)
				ids = append(ids, j.ID)
			}
			f.equal("the longest due first", []nostr.ID{job(1).ID, job(2).ID}, ids)
			f.must(f.FreeLeases(f.ctx, "b"))
			f.equal("freed", 3, len(f.dueJobs(base+50, 9, "c")))
		},
		"one answer": func(_ *testing.T, f *fixture) {
			j := job(1)
			f.addJob(j, "a", true)
			j.State, j.Answer = store.JobAnswered, []byte("first")
			f.saveJob(j, store.Lease{Owner: "a", Until: base + 200}, base, true)
			other := j
			other.Answer = []byte("second")
			f.saveJob(other, store.Lease{Owner: "a", Until: base + 200}, base, true)
			f.equal("still leased", 0, len(f.dueJobs(base+199, 9, "b")))
			f.equal("the first stays", []store.Job{j}, f.dueJobs(base+200, 9, "b"))
			open := j
			open.State = store.JobOpen
			f.saveJob(open, store.Lease{Owner: "b"}, base, false)
			cancelled, err := f.CancelJob(f.ctx, j.ID, j.Customer)
			f.must(err)
			f.equal("cancelled with an answer", false, cancelled)
			j.State = store.JobDone
			f.saveJob(j, store.Lease{Owner: "b"}, base, true)
			f.saveJob(j, store.Lease{Owner: "b"}, base, false)
			f.equal("done", 0, len(f.dueJobs(base+1000, 9, "c")))
			f.addJob(job(1), "c", false)
		},
		"cancelled": func(_ *testing.T, f *fixture) {
			j := job(1)
			f.addJob(j, "a", true)
			for _, step := range []struct {
				name     string
				id       nostr.ID
				customer nostr.PubKey
				want     bool
			}{
				{"by another", j.ID, author(2), false},
				{"an unknown one", job(7).ID, j.Customer, false},
				{"by who asked", j.ID, j.Customer, true},
				{"again", j.ID, j.Customer, false},
			} {
				have, err := f.CancelJob(f.ctx, step.id, step.customer)
				f.must(err)
				f.equal(step.name, step.want, have)
			}
			j.State, j.Answer = store.JobAnswered, []byte("too late")
			f.saveJob(j, store.Lease{Owner: "a"}, base, false)
			f.equal("no work left", 0, len(f.dueJobs(base+1000, 9, "b")))
		},
		"forgotten": func(_ *testing.T, f *fixture) {
			for n := range 5 {
				j := job(n)
				j.At += int64(n)
				f.addJob(j, "a", true)
			}
			for _, want := range []int{2, 1, 0} {
				n, err := f.DropJobs(f.ctx, base+3, 2)
				f.must(err)
				f.equal("dropped", want, n)
			}
			f.equal("left", 2, len(f.dueJobs(base+1000, 9, "b")))
		},
	})
}
