package rest

import (
	"context"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

func (a *API) relayRoutes(api huma.API) {
	const relays, one = prefix + "/relays", prefix + "/relays/{url}"
	huma.Get(api, relays, a.getRelays, describe("relays", "relays", "Relays with state, health, place and coverage",
		"Of every condition that is given, all must be met. Sorted by what sort says, then by ascending URL. Some seconds old; of many relays up to two minutes when nobody asked before."))
	huma.Get(api, one, a.getRelay, describe("relay", "relays", "All that is known of a relay",
		"With the newest result of every probe, what other monitors say of it beside ours (NIP-66), how it is read, and how ids stand at it.", http.StatusNotFound))
	huma.Get(api, one+"/checks", a.getChecks, describe("relay-checks", "relays", "Results of a probe over time",
		"Newest first. They are kept for a month.", http.StatusNotFound))
	huma.Get(api, one+"/outages", a.getOutages, describe("relay-outages", "relays", "Times in which a relay could not be opened",
		"Newest first, with the share of the time in which it could.", http.StatusNotFound))
	huma.Get(api, one+"/document", a.getDocument, describe("relay-document", "relays", "The information document of a relay (NIP-11)",
		"As it was last found, in canonical form.", http.StatusNotFound))
	huma.Get(api, one+"/history", a.getHistory, describe("relay-history", "relays", "What changed in a relay's information document",
		"By field, newest first, between the newest versions.", http.StatusNotFound))
	huma.Get(api, one+"/coverage", a.getCoverage, describe("relay-coverage", "relays", "What is proved to be held of a relay",
		"Intervals of created_at with the level of proof and when it was true, by filter and time. The figures above them are of all.", http.StatusNotFound))
	huma.Get(api, one+"/holes", a.getHoles, describe("relay-holes", "relays", "What is known to be missing of a relay",
		"Or may be, with the reason.", http.StatusNotFound))
	huma.Get(api, one+"/claims", a.getClaims, describe("relay-claims", "relays", "What a relay claims, held against what it does",
		"As of the newest daily test. Not found before the first one.", http.StatusNotFound))
	huma.Get(api, one+"/contents", a.getContents, describe("relay-contents", "relays", "What a relay carries",
		"Events by kind and day, from sums that are seconds old.", http.StatusNotFound))
	huma.Get(api, prefix+"/overlap", a.getOverlap, describe("overlap", "relays", "What events relays share",
		"Of one to four relays, by a sample of about a thousand events of each.", http.StatusNotFound))
	huma.Get(api, prefix+"/incidents", a.getIncidents, describe("incidents", "relays", "The newest outages of all relays", "Newest first."))
	huma.Get(api, one+"/badge.svg", a.getBadge, describe("relay-badge", "relays", "A badge with the state of a relay",
		"An image for other pages.", http.StatusNotFound), func(o *huma.Operation) { media(o, "the badge", svgType) })
	huma.Get(api, one+"/feed.atom", a.getFeed, describe("relay-feed", "relays", "A feed of what happens to a relay",
		"Its outages and the changes of its document, newest first (RFC 4287).", http.StatusNotFound), func(o *huma.Operation) { media(o, "the feed", atomType) })

	huma.Get(api, prefix+"/alive", a.getAlive, describe("alive", "relays", "The relays that are up now",
		"The cheap list for clients, ready made: canonical URLs, each relay under one. It is never empty because our own network is down: "+
			"then it is stale and has those that were up last."), func(o *huma.Operation) {
		schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[query.Alive](), true, "Alive")
		o.Responses = map[string]*huma.Response{
			"200": {Description: "the list", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}},
			"304": {Description: "the client has it"},
		}
	})
}

// RelayInput is the parameter that names a relay.
type RelayInput struct {
	URL string `path:"url" maxLength:"1024" doc:"URL of the relay, percent-encoded, or what comes behind wss:// of it" example:"relay.example.com"`
}

type relaysInput struct {
	Network  string         `query:"network" enum:"clearnet,tor,i2p,loki" doc:"only relays of this network" example:"clearnet"`
	State    []string       `query:"state" nullable:"false" maxItems:"5" enum:"new,up,degraded,down,dead" doc:"only relays in one of these states, separated by commas" example:"[\"up\",\"degraded\"]"`
	Country  string         `query:"country" pattern:"^[A-Za-z]{2}$" doc:"only relays in this country, ISO 3166-1, two letters" example:"DE"`
	ASN      int64          `query:"asn" minimum:"1" maximum:"4294967295" doc:"only relays in this network, by its number" example:"24940"`
	Software string         `query:"software" maxLength:"100" doc:"only relays whose software and version hold this text, in any case" example:"strfry"`
	NIPs     []string       `query:"nips" nullable:"false" maxItems:"20" pattern:"^[0-9A-Fa-f]{1,4}$" doc:"only relays that say they support all of these, separated by commas" example:"[\"11\",\"77\"]"`
	Auth     optional[bool] `query:"auth" doc:"only relays that require authentication, or do not" example:"false"`
	Payment  optional[bool] `query:"payment" doc:"only relays that require payment, or do not" example:"false"`
	Uptime   float64        `query:"uptime" minimum:"0" maximum:"1" doc:"only relays that could be opened for at least this share of the watched time of 30 days" example:"0.99"`
	OpenP95  float64        `query:"open_p95" minimum:"0" maximum:"3600000" doc:"only relays that open within this many milliseconds, 95 times of 100" example:"500"`
	Text     string         `query:"text" maxLength:"200" doc:"only relays of which every word is in the URL, name, software, network or city" example:"example relay"`
	Near     string         `query:"near" maxLength:"50" doc:"only relays whose place is known; latitude and longitude in degrees, with a comma between" example:"52.5,13.4"`
	Within   float64        `query:"within" minimum:"0" maximum:"21000" doc:"of near, in kilometres" example:"500"`
	Aliases  bool           `query:"aliases" default:"true" doc:"whether other URLs of the same relay are listed, too"`
	Sort     []string       `query:"sort" nullable:"false" maxItems:"4" maxLength:"20" doc:"columns, separated by commas; a minus in front is falling order" example:"[\"-uptime\",\"open_p95\"]"`
	PageInput

	query query.RelayQuery // set by Resolve
}

// Resolve makes the question, and tells which parameters are no part of one.
func (in *relaysInput) Resolve(huma.Context) []error {
	var wrong []error
	q := query.RelayQuery{
		Network: relay.Network(in.Network), Country: in.Country, ASN: in.ASN, Software: in.Software,
		Auth: in.Auth.pointer(), Payment: in.Payment.pointer(), Uptime: in.Uptime, OpenP95: in.OpenP95, Text: in.Text,
		Canonical: !in.Aliases, Within: in.Within, After: in.After, Limit: in.Limit,
	}
	for _, state := range in.State {
		q.States = append(q.States, store.State(state))
	}
	for _, nip := range in.NIPs {
		nip = strings.ToUpper(strings.TrimLeft(nip, "0"))
		q.NIPs = append(q.NIPs, nip)
	}
	for name, n := range map[string]float64{"uptime": in.Uptime, "open_p95": in.OpenP95, "within": in.Within} {
		if math.IsNaN(n) {
			wrong = append(wrong, &huma.ErrorDetail{Location: "query." + name, Message: "not a number", Value: "NaN"})
		}
	}
	if in.Near != "" {
		point, ok := parsePoint(in.Near)
		if !ok {
			wrong = append(wrong, &huma.ErrorDetail{Location: "query.near", Message: "not a latitude and a longitude with a comma between", Value: in.Near})
		}
		q.Near = &point
	} else if in.Within > 0 {
		wrong = append(wrong, &huma.ErrorDetail{Location: "query.within", Message: "needs near", Value: in.Within})
	}
	for _, column := range in.Sort {
		name, falling := strings.CutPrefix(column, "-")
		q.Sort = append(q.Sort, query.Order{Column: name, Falling: falling})
	}
	in.query = q
	return wrong
}

// parsePoint reads "52.5,13.4".
func parsePoint(text string) (p query.Point, ok bool) {
	lat, lon, found := strings.Cut(text, ",")
	var err1, err2 error
	p.Lat, err1 = strconv.ParseFloat(strings.TrimSpace(lat), 64)
	p.Lon, err2 = strconv.ParseFloat(strings.TrimSpace(lon), 64)
	// Comparisons with NaN are false.
	return p, found && err1 == nil && err2 == nil && p.Lat >= -90 && p.Lat <= 90 && p.Lon >= -180 && p.Lon <= 180
}

func (a *API) getRelays(ctx context.Context, in *relaysInput) (*output[query.RelayPage], error) {
	page, err := a.query.Relays(ctx, in.query)
	return answered(ctx, a, page, err)
}

func (a *API) getRelay(ctx context.Context, in *RelayInput) (*output[query.RelayDetail], error) {
	d, err := a.query.Relay(ctx, in.URL)
	return answered(ctx, a, d, err)
}

type checksInput struct {
	RelayInput
	Probe  string          `query:"probe" default:"open" maxLength:"32" doc:"whose results" example:"read"`
	Before optional[int64] `query:"before" doc:"only results from before this time, Unix seconds: the at of the last one for the next page" example:"1767225600"`
	Limit  int             `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most results of a page"`
}

type checkList struct {
	Checks []query.Check `json:"checks" nullable:"false" doc:"newest first"`
}

func (a *API) getChecks(ctx context.Context, in *checksInput) (*output[checkList], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	before := time.Now().Unix() + farFuture
	if in.Before.Given {
		before = in.Before.Value
	}
	list, err := a.query.Results(ctx, r.ID, in.Probe, before, in.Limit)
	return answered(ctx, a, checkList{list}, err)
}

// farFuture is beyond any time that was written by a clock of ours, in seconds.
const farFuture = 100 * 365 * 86400

type relayPageInput struct {
	RelayInput
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most entries of the answer"`
}

type outageList struct {
	Health  query.Health   `json:"health"`
	Outages []query.Outage `json:"outages" nullable:"false" doc:"newest first"`
}

func (a *API) getOutages(ctx context.Context, in *relayPageInput) (*output[outageList], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	var out outageList
	if out.Health, err = a.query.Health(ctx, r.ID); err == nil {
		out.Outages, err = a.query.Outages(ctx, r.ID, in.Limit)
	}
	return answered(ctx, a, out, err)
}

func (a *API) getDocument(ctx context.Context, in *RelayInput) (*output[query.Info], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	info, err := a.query.Info(ctx, r.ID)
	return answered(ctx, a, info, err)
}

type historyInput struct {
	RelayInput
	Versions int `query:"versions" default:"20" minimum:"1" maximum:"100" doc:"how many of the newest versions are compared"`
}

type changeList struct {
	Changes []query.Change `json:"changes" nullable:"false" doc:"newest first"`
}

func (a *API) getHistory(ctx context.Context, in *historyInput) (*output[changeList], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	changes, err := a.query.Changes(ctx, r.ID, in.Versions)
	return answered(ctx, a, changeList{changes}, err)
}

// claimsInput is a page of claims or holes.
type claimsInput struct {
	RelayInput
	After string `query:"after" maxLength:"100" doc:"next of the previous page"`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most entries of a page"`
}

type relayCoverage struct {
	query.RelayCompleteness
	Claims []query.Claim `json:"claims" nullable:"false" doc:"by filter and time; those of one filter do not overlap"`
	Next   string        `json:"next,omitempty" doc:"pass as after for the next page; absent at the end"`
}

func (a *API) getCoverage(ctx context.Context, in *claimsInput) (*output[relayCoverage], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	claims, next, err := a.query.RelayClaims(ctx, r.ID, store.Cursor(in.After), in.Limit)
	return answered(ctx, a, relayCoverage{r.Completeness(), claims, string(next)}, err)
}

type holeList struct {
	Holes []query.Hole `json:"holes" nullable:"false" doc:"by filter and time"`
	Next  string       `json:"next,omitempty" doc:"pass as after for the next page; absent at the end"`
}

func (a *API) getHoles(ctx context.Context, in *claimsInput) (*output[holeList], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	list, next, err := a.query.RelayHoles(ctx, r.ID, store.Cursor(in.After), in.Limit)
	return answered(ctx, a, holeList{list, string(next)}, err)
}

func (a *API) getClaims(ctx context.Context, in *RelayInput) (*output[query.Tested], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	tested, err := a.query.Tested(ctx, r.ID)
	return answered(ctx, a, tested, err)
}

type contentsInput struct {
	RelayInput
	Days  int `query:"days" default:"90" minimum:"1" maximum:"4000" doc:"how many of the last days, today included"`
	Kinds int `query:"kinds" default:"20" minimum:"1" maximum:"1000" doc:"how many of the most frequent kinds"`
}

type relayContents struct {
	Kinds []kind `json:"kinds" nullable:"false" doc:"most frequent first"`
	Days  []day  `json:"days" nullable:"false" doc:"by ascending day; those without events are left out"`
}

func (a *API) getContents(ctx context.Context, in *contentsInput) (*output[relayContents], error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	kinds, err := a.query.RelayKinds(ctx, r.ID, in.Kinds)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	today := time.Now().Unix() / store.Day
	days, err := a.query.RelayDays(ctx, r.ID, today-int64(in.Days)+1, today)
	return answered(ctx, a, relayContents{newKinds(kinds), newDays(days)}, err)
}

type overlapInput struct {
	URLs []string `query:"urls" nullable:"false" required:"true" minItems:"1" maxItems:"4" maxLength:"1024" doc:"relays, as in an address, separated by commas" example:"[\"relay.example.com\",\"nos.example.com\"]"`
}

func (a *API) getOverlap(ctx context.Context, in *overlapInput) (*output[query.Overlap], error) {
	var relays []*query.Relay
	for _, url := range in.URLs {
		r, err := a.query.Find(ctx, url)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		relays = append(relays, r)
	}
	overlap, err := a.query.Overlap(ctx, relays)
	return answered(ctx, a, overlap, err)
}

type limitInput struct {
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most entries of the answer"`
}

type incidentList struct {
	Incidents []query.Incident `json:"incidents" nullable:"false" doc:"newest first"`
}

func (a *API) getIncidents(ctx context.Context, in *limitInput) (*output[incidentList], error) {
	list, err := a.query.Incidents(ctx, in.Limit)
	return answered(ctx, a, incidentList{list}, err)
}
