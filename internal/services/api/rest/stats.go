package rest

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

func (a *API) statsRoutes(api huma.API) {
	const stats = prefix + "/stats"
	huma.Get(api, stats, a.getStats, describe("stats", "stats", "Figures of the whole archive", "Read from sums that are seconds old."))
	for _, by := range []struct {
		grouping query.Grouping
		summary  string
	}{
		{query.ByNetwork, "Relays by network"},
		{query.BySoftware, "Relays by software"},
		{query.ByNIP, "Relays by the NIPs that they say they support"},
		{query.ByCountry, "Relays by country"},
		{query.ByASN, "Relays by the network of their address (ASN)"},
	} {
		huma.Get(api, stats+"/"+string(by.grouping), func(ctx context.Context, in *limitInput) (*output[query.Groups], error) {
			groups, err := a.query.Groups(ctx, by.grouping, in.Limit)
			return answered(ctx, a, groups, err)
		}, describe("stats-"+string(by.grouping), "stats", by.summary, "Other URLs of a relay are not counted. Most relays first."))
	}
	huma.Get(api, stats+"/kinds", a.getKinds, describe("stats-kinds", "stats", "Events by kind", "Most frequent first, from sums that are seconds old."))
	huma.Get(api, stats+"/daily", a.getDaily, describe("stats-daily", "stats", "Events by day",
		"By the day that their authors say (UTC), from sums that are seconds old. Days without events are left out."))
	huma.Get(api, stats+"/replication", a.getReplication, describe("stats-replication", "stats", "On how many relays events are",
		"Measured on about a thousand events, drawn evenly, at most every ten minutes."))
	huma.Get(api, prefix+"/completeness", a.getCompleteness, describe("completeness", "stats", "What is proved to be held",
		"By level of proof and with the time at which it was true, in total and of each relay."))
}

func (a *API) getStats(ctx context.Context, _ *struct{}) (*output[query.Stats], error) {
	stats, err := a.query.Stats(ctx)
	return answered(ctx, a, stats, err)
}

type kind struct {
	Kind    nostr.Kind `json:"kind" example:"1"`
	Events  int64      `json:"events"`
	Authors int64      `json:"authors,omitempty" doc:"distinct authors, estimated"`
}

func newKinds(list []store.KindTotal) []kind {
	out := make([]kind, len(list))
	for i, k := range list {
		out[i] = kind(k)
	}
	return out
}

type kindList struct {
	Kinds []kind `json:"kinds" nullable:"false" doc:"most frequent first"`
}

func (a *API) getKinds(ctx context.Context, in *limitInput) (*output[kindList], error) {
	list, err := a.query.Kinds(ctx, in.Limit)
	return answered(ctx, a, kindList{newKinds(list)}, err)
}

type day struct {
	Date    string `json:"date" doc:"of the day, UTC" example:"2026-01-01"`
	Events  int64  `json:"events"`
	Authors int64  `json:"authors,omitempty" doc:"distinct authors, estimated"`
}

func newDays(list []store.DayTotal) []day {
	out := make([]day, len(list))
	for i, d := range list {
		out[i] = day{time.Unix(d.Day*store.Day, 0).UTC().Format(time.DateOnly), d.Events, d.Authors}
	}
	return out
}

type dailyInput struct {
	Days  int             `query:"days" default:"90" minimum:"1" maximum:"4000" doc:"how many days, the last one included"`
	Until optional[int64] `query:"until" minimum:"0" maximum:"253402300799" doc:"a time in the last day, Unix seconds; now when it is absent" example:"1767225600"`
}

type dayList struct {
	Days []day `json:"days" nullable:"false" doc:"by ascending day"`
}

func (a *API) getDaily(ctx context.Context, in *dailyInput) (*output[dayList], error) {
	last := time.Now().Unix() / store.Day
	if in.Until.Given {
		last = in.Until.Value / store.Day
	}
	list, err := a.query.Days(ctx, last-int64(in.Days)+1, last)
	return answered(ctx, a, dayList{newDays(list)}, err)
}

func (a *API) getReplication(ctx context.Context, _ *struct{}) (*output[query.Replication], error) {
	r, err := a.query.Replication(ctx)
	return answered(ctx, a, r, err)
}

func (a *API) getCompleteness(ctx context.Context, in *PageInput) (*output[query.Completeness], error) {
	c, err := a.query.Completeness(ctx, in.After, in.Limit)
	return answered(ctx, a, c, err)
}
