package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

type relaysCmd struct {
	List    relaysListCmd    `cmd:"" help:"List relays, candidates or bans; with URLs, also where they were seen."`
	Add     relaysAddCmd     `cmd:"" help:"Add relays, without waiting for the validator."`
	Remove  relaysRemoveCmd  `cmd:"" help:"Take relays and candidates out of the set until somebody mentions them again. What they delivered stays."`
	Ban     relaysBanCmd     `cmd:"" help:"Keep relays or whole hosts out for good: nothing connects there, nothing brings them back."`
	Unban   relaysUnbanCmd   `cmd:"" help:"Lift bans."`
	Recheck relaysRecheckCmd `cmd:"" help:"Have relays and candidates checked and read as soon as possible."`
}

type relaysListCmd struct {
	URLs       []string `arg:"" optional:"" name:"url" help:"These only, with their mentions."`
	Network    string   `placeholder:"NETWORK" help:"clearnet, tor, i2p or loki."`
	State      string   `placeholder:"STATE" help:"Relays that are new, up, degraded, down or dead."`
	Candidates bool     `help:"Candidates instead of relays." xor:"what"`
	Banned     bool     `help:"Bans instead of relays." xor:"what"`
	Sources    bool     `help:"How many URLs each kind of source has named." xor:"what"`
}

// relayReport is a line about a relay or, where it has no state, a candidate.
type relayReport struct {
	URL       relay.URL       `json:"url"`
	Network   relay.Network   `json:"network"`
	State     store.State     `json:"state,omitempty"`
	Since     int64           `json:"state_since,omitempty"`
	Cause     dial.Cause      `json:"cause,omitempty"`
	LastUp    int64           `json:"last_up,omitempty"`
	FirstSeen int64           `json:"first_seen"`
	Promoted  int64           `json:"promoted_at,omitempty"`
	AliasOf   string          `json:"alias_of,omitempty"`
	KeptOut   store.KeptOut   `json:"kept_out,omitempty"`
	Class     hints.Class     `json:"class,omitempty"`
	Authors   int             `json:"authors,omitempty"`
	Attempts  int             `json:"attempts,omitempty"`
	NextDue   int64           `json:"next_due,omitempty"`
	Reason    string          `json:"reason,omitempty"` // of a ban
	Mentions  []mentionReport `json:"mentions,omitempty"`
	Kin       []kinReport     `json:"kin,omitempty"`
}

// kinReport is a relay that shares something with another.
type kinReport struct {
	URL    relay.URL         `json:"url"`
	Shares []store.TraitKind `json:"shares"`
}

type mentionReport struct {
	Class   hints.Class `json:"class"`
	First   int64       `json:"first_seen"`
	Last    int64       `json:"last_seen"`
	Count   int64       `json:"count"`
	Authors int64       `json:"authors"`
}

// Run may run beside a writer.
func (c *relaysListCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	urls, err := parseURLs(cfg, c.URLs)
	if err != nil {
		return err
	}
	st, err := app.ReadStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	out := newTable(g)
	switch {
	case c.Banned:
		err = c.bans(ctx, st, out)
	case c.Sources:
		err = c.sources(ctx, st, out)
	case len(urls) > 0:
		return errors.Join(c.named(ctx, st, out, urls), out.flush())
	case c.Candidates:
		err = c.candidates(ctx, st, out)
	default:
		err = c.relays(ctx, st, out)
	}
	return errors.Join(err, out.flush())
}

func (c *relaysListCmd) wants(u relay.URL) bool {
	return c.Network == "" || string(u.Network()) == c.Network
}

func (c *relaysListCmd) relays(ctx context.Context, st store.Store, out *table) error {
	byID := map[store.RelayID]string{}
	for r, err := range st.ScanRelays(ctx) {
		if err != nil {
			return err
		}
		byID[r.ID] = r.URL.String()
	}
	reasons, err := banned(ctx, st)
	if err != nil {
		return err
	}
	out.head("URL", "NETWORK", "STATE", "SINCE", "CAUSE", "REMARK")
	for r, err := range st.ScanRelays(ctx) {
		if err != nil {
			return err
		}
		if !c.wants(r.URL) || c.State != "" && string(r.State) != c.State {
			continue
		}
		if err := out.relay(reasons.of(reportRelay(r, byID[r.AliasOf]))); err != nil {
			return err
		}
	}
	return nil
}

func (c *relaysListCmd) candidates(ctx context.Context, st store.Store, out *table) error {
	reasons, err := banned(ctx, st)
	if err != nil {
		return err
	}
	out.head("URL", "NETWORK", "CLASS", "AUTHORS", "TRIED", "CAUSE", "DUE", "REMARK")
	for one, err := range st.ScanCandidates(ctx) {
		if err != nil {
			return err
		}
		if !c.wants(one.URL) {
			continue
		}
		if err := out.candidate(reasons.of(reportCandidate(one))); err != nil {
			return err
		}
	}
	return nil
}

func (*relaysListCmd) bans(ctx context.Context, st store.Store, out *table) error {
	out.head("TARGET", "SINCE", "REASON")
	for b, err := range st.ScanBans(ctx) {
		if err != nil {
			return err
		}
		if err := out.row(map[string]any{"target": b.Target, "at": b.At, "reason": b.Reason}, b.Target, day(b.At), quoted(b.Reason)); err != nil {
			return err
		}
	}
	return nil
}

func (*relaysListCmd) sources(ctx context.Context, st store.Store, out *table) error {
	totals, err := st.ClassTotals(ctx)
	if err != nil {
		return err
	}
	out.head("CLASS", "URLS", "ONLY HERE OR IN WEAKER ONES")
	for _, t := range totals {
		if err := out.row(map[string]any{"class": t.Class, "urls": t.URLs, "strongest": t.Strongest},
			string(t.Class), strconv.FormatInt(t.URLs, 10), strconv.FormatInt(t.Strongest, 10)); err != nil {
			return err
		}
	}
	return nil
}

// named reports URLs one by one, with their mentions. One that nobody knows
// makes the exit code say so.
func (*relaysListCmd) named(ctx context.Context, st store.Store, out *table, urls []relay.URL) error {
	candidates := map[relay.URL]store.Candidate{}
	for one, err := range st.ScanCandidates(ctx) {
		if err != nil {
			return err
		}
		candidates[one.URL] = one
	}
	reasons, err := banned(ctx, st)
	if err != nil {
		return err
	}
	var unknown int
	for _, u := range urls {
		r, err := st.Relay(ctx, u)
		candidate, is := candidates[u]
		var report relayReport
		switch {
		case err == nil:
			report = reportRelay(r, "")
		case !errors.Is(err, store.ErrNotFound):
			return err
		case is:
			report = reportCandidate(candidate)
		default:
			unknown++
			if err := out.row(map[string]any{"url": u, "outcome": "unknown"}, u.String(), "unknown"); err != nil {
				return err
			}
			continue
		}
		mentions, err := st.Mentions(ctx, u)
		if err != nil {
			return err
		}
		for _, m := range mentions {
			report.Mentions = append(report.Mentions, mentionReport(m))
		}
		kin, err := st.Kin(ctx, u, nil, maxKin)
		if err != nil {
			return err
		}
		for _, k := range kin {
			report.Kin = append(report.Kin, kinReport{k.URL, k.Shares})
		}
		if err := out.named(reasons.of(report)); err != nil {
			return err
		}
	}
	return outcome(unknown, len(urls))
}

// maxKin is how many relays that share something with one are shown.
const maxKin = 20

// reasons are those of bans, by what is banned.
type reasons map[string]string

func banned(ctx context.Context, st store.Store) (reasons, error) {
	list := reasons{}
	for b, err := range st.ScanBans(ctx) {
		if err != nil {
			return nil, err
		}
		list[b.Target] = b.Reason
	}
	return list, nil
}

// of adds the reason for which a relay or candidate is kept out.
func (l reasons) of(r relayReport) relayReport {
	if r.KeptOut == store.Banned {
		r.Reason = cmp.Or(l[r.URL.String()], l[r.URL.Hostname()])
	}
	return r
}

func reportRelay(r store.Relay, aliasOf string) relayReport {
	return relayReport{
		URL: r.URL, Network: r.URL.Network(), State: r.State, Since: r.StateSince, Cause: r.Cause, LastUp: r.LastUp,
		FirstSeen: r.FirstSeen, Promoted: r.PromotedAt, AliasOf: aliasOf, KeptOut: r.KeptOut,
	}
}

func reportCandidate(c store.Candidate) relayReport {
	return relayReport{
		URL: c.URL, Network: c.URL.Network(), Cause: c.LastCause, FirstSeen: c.FirstSeen, KeptOut: c.KeptOut,
		Class: c.Class, Authors: c.DistinctAuthors, Attempts: c.Attempts, NextDue: c.NextDue,
	}
}

type relaysAddCmd struct {
	URLs []string `arg:"" name:"url" help:"The relays."`
}

// Run adds all of them or, when one is banned, none.
func (c *relaysAddCmd) Run(ctx context.Context, g *Globals) error {
	return curate(ctx, g, c.URLs, "added", "known", func(st store.Store, urls []relay.URL) ([]relay.URL, error) {
		var fresh []relay.URL
		for _, u := range urls {
			r, err := st.Relay(ctx, u)
			switch {
			case errors.Is(err, store.ErrNotFound), err == nil && r.KeptOut == store.Removed:
				fresh = append(fresh, u)
			case err != nil:
				return nil, err
			}
		}
		_, err := st.AddRelays(ctx, urls, time.Now().Unix())
		if errors.Is(err, store.ErrBanned) {
			err = fmt.Errorf("%w; lift it first with `bigbrotr relays unban`", err)
		}
		return fresh, err
	})
}

type relaysRemoveCmd struct {
	URLs []string `arg:"" name:"url" help:"Relays or candidates."`
}

// Run takes them out of the set.
func (c *relaysRemoveCmd) Run(ctx context.Context, g *Globals) error {
	return curate(ctx, g, c.URLs, "removed", "unknown", func(st store.Store, urls []relay.URL) ([]relay.URL, error) {
		return st.RemoveURLs(ctx, urls)
	})
}

type relaysRecheckCmd struct {
	URLs []string `arg:"" name:"url" help:"Relays or candidates."`
}

// Run makes them due.
func (c *relaysRecheckCmd) Run(ctx context.Context, g *Globals) error {
	return curate(ctx, g, c.URLs, "due", "unknown", func(st store.Store, urls []relay.URL) ([]relay.URL, error) {
		return st.Recheck(ctx, urls, time.Now().Unix())
	})
}

// curate does something to URLs in the store and tells of each with which it
// did; of the others it says otherwise.
func curate(ctx context.Context, g *Globals, texts []string, did, otherwise string, do func(store.Store, []relay.URL) ([]relay.URL, error)) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	urls, err := parseURLs(cfg, texts)
	if err != nil {
		return err
	}
	st, err := app.OpenStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	done, err := do(st, urls)
	if err != nil {
		return app.Explain(cfg, err)
	}
	doneWith := map[relay.URL]bool{}
	for _, u := range done {
		doneWith[u] = true
	}
	out := newTable(g)
	rest := 0
	for _, u := range urls {
		what := did
		if !doneWith[u] {
			what = otherwise
			rest++
		}
		if err := out.row(map[string]any{"url": u, "outcome": what}, u.String(), what); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if otherwise == "known" {
		return nil // as wanted
	}
	return outcome(rest, len(urls))
}

type relaysBanCmd struct {
	Targets []string `arg:"" optional:"" name:"target" help:"URLs, or hosts with all their URLs."`
	File    string   `placeholder:"FILE" help:"More of them, one a line; what follows # is the reason."`
	Reason  string   `help:"Why; kept with the ban."`
}

// Run bans all of them or none.
func (c *relaysBanCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	var bans []store.Ban
	for _, text := range c.Targets {
		target, err := store.ParseTarget(text, cfg.Rules())
		if err != nil {
			return usageError{err}
		}
		bans = append(bans, store.Ban{Target: target, At: now, Reason: c.Reason})
	}
	if c.File != "" {
		more, err := readBans(c.File, cfg.Rules(), c.Reason, now)
		if err != nil {
			return usageError{err}
		}
		bans = append(bans, more...)
	}
	if len(bans) == 0 {
		return usageError{errors.New("name what to ban, or a --file that does")}
	}
	st, err := app.OpenStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	if err := st.Ban(ctx, bans); err != nil {
		return app.Explain(cfg, err)
	}
	out := newTable(g)
	for _, b := range bans {
		if err := out.row(map[string]any{"target": b.Target, "outcome": "banned"}, b.Target, "banned"); err != nil {
			return err
		}
	}
	return out.flush()
}

// readBans reads a list of those who do not want to be connected to.
func readBans(name string, rules relay.Rules, reason string, now int64) (bans []store.Ban, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, why, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		target, err := store.ParseTarget(text, rules)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if why = strings.TrimSpace(why); why == "" {
			why = reason
		}
		bans = append(bans, store.Ban{Target: target, At: now, Reason: why})
	}
	return bans, lines.Err()
}

type relaysUnbanCmd struct {
	Targets []string `arg:"" name:"target" help:"What was banned."`
}

// Run lifts bans. One that is none makes the exit code say so.
func (c *relaysUnbanCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	var targets []string
	for _, text := range c.Targets {
		target, err := store.ParseTarget(text, cfg.Rules())
		if err != nil {
			return usageError{err}
		}
		targets = append(targets, target)
	}
	st, err := app.OpenStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	lifted, err := st.LiftBans(ctx, targets)
	if err != nil {
		return app.Explain(cfg, err)
	}
	was := map[string]bool{}
	for _, target := range lifted {
		was[target] = true
	}
	out := newTable(g)
	unknown := 0
	for _, target := range targets {
		what := "lifted"
		if !was[target] {
			what = "unknown"
			unknown++
		}
		if err := out.row(map[string]any{"target": target, "outcome": what}, target, what); err != nil {
			return err
		}
	}
	return errors.Join(outcome(unknown, len(targets)), out.flush())
}

// outcome is the error of a command that found nothing of some of what it was
// given.
func outcome(unknown, all int) error {
	switch {
	case unknown == 0:
		return nil
	case unknown < all:
		return errPart
	}
	return errSaid
}

func parseURLs(cfg app.Config, texts []string) ([]relay.URL, error) {
	urls := make([]relay.URL, len(texts))
	for i, text := range texts {
		var err error
		if urls[i], err = parseURL(cfg, text); err != nil {
			return nil, err
		}
	}
	return urls, nil
}

// table prints rows for people, or one JSON object each.
type table struct {
	g *Globals
	w *tabwriter.Writer
}

func newTable(g *Globals) *table {
	return &table{g: g, w: tabwriter.NewWriter(g.terminal.out, 0, 0, 2, ' ', 0)}
}

func (t *table) head(columns ...string) {
	if !t.g.JSON {
		fmt.Fprintln(t.w, strings.Join(columns, "\t"))
	}
}

func (t *table) row(object any, columns ...string) error {
	if t.g.JSON {
		return t.g.print(object)
	}
	_, err := fmt.Fprintln(t.w, strings.Join(columns, "\t"))
	return err
}

func (t *table) flush() error { return t.w.Flush() }

func (t *table) relay(r relayReport) error {
	return t.row(r, r.URL.String(), string(r.Network), string(r.State), day(r.Since), string(r.Cause), r.remark())
}

func (t *table) candidate(r relayReport) error {
	return t.row(r, r.URL.String(), string(r.Network), string(r.Class), strconv.Itoa(r.Authors), strconv.Itoa(r.Attempts), string(r.Cause), moment(r.NextDue), r.remark())
}

func (t *table) named(r relayReport) error {
	state := string(r.State)
	if state == "" {
		state = "candidate"
	}
	if err := t.row(r, r.URL.String(), string(r.Network), state, string(r.Cause), r.remark()); err != nil || t.g.JSON {
		return err
	}
	for _, k := range r.Kin {
		if _, err := fmt.Fprintf(t.w, "  %s\tshares %s\t\n", k.URL, shared(k.Shares)); err != nil {
			return err
		}
	}
	for _, m := range r.Mentions {
		if _, err := fmt.Fprintf(t.w, "  %s\t%s to %s\t%d times\tby %d authors\t\n", m.Class, day(m.First), day(m.Last), m.Count, m.Authors); err != nil {
			return err
		}
	}
	return nil
}

func (r *relayReport) remark() string {
	switch {
	case strings.HasPrefix(r.Reason, store.OptedOut):
		return store.OptedOut
	case r.KeptOut != "":
		return string(r.KeptOut)
	case r.AliasOf != "":
		return "alias of " + r.AliasOf
	}
	return ""
}

func shared(kinds []store.TraitKind) string {
	texts := make([]string, len(kinds))
	for i, kind := range kinds {
		texts[i] = string(kind)
	}
	return strings.Join(texts, ", ")
}

func moment(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateTime) }

// quoted makes text that may hold anything harmless to a terminal.
func quoted(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%q", text)
}
