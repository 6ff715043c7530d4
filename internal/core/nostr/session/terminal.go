package session

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
)

// Kind says how a request ended.
type Kind uint8

// The kinds of terminals. Only the EOSE kinds (Terminal.EOSE) prove that the
// relay has sent what it had to send; every other kind proves nothing.
const (
	// Unended: the request was given up by the caller's context.
	Unended Kind = iota
	// EOSE: the relay has sent all stored events that it sends in one answer.
	EOSE
	// EOSEFinish: as EOSE, and there is nothing more that matches (NIP-67).
	EOSEFinish
	// EOSEMore: as EOSE, and there is more below (NIP-67).
	EOSEMore
	// EOSEAuth: as EOSE, and authentication would show more (NIP-67). Of several
	// hints the one that promises least decides the kind.
	EOSEAuth
	// Counted: a COUNT was answered (NIP-45).
	Counted
	// Reconciled: a reconciliation came to its end (NIP-77).
	Reconciled
	// NegRefused: the relay ended a reconciliation by NEG-ERR; Prefix, Message
	// and Limit say why.
	NegRefused
	// Endless: a reconciliation took more messages or bytes than any needs.
	Endless
	// Closed: the relay ended the subscription; Prefix and Message say why.
	Closed
	// Notice: a NOTICE came, and then nothing. Some relays refuse a request in
	// this way only.
	Notice
	// Idle: no answer came for as long as Options.Idle.
	Idle
	// Slow: answers came, and the whole took longer than Options.Request.
	Slow
	// Stopped: visit asked to stop.
	Stopped
	// Disconnect: the connection ended; Code is the WebSocket close code, 0
	// when there was none.
	Disconnect
	// Malformed: too much of what came was not Nostr, or answered nothing; we
	// ended the connection.
	Malformed
	// Oversize: a message was larger than we skip; we ended the connection.
	Oversize
)

var kindNames = [...]string{
	Unended: "unended", EOSE: "eose", EOSEFinish: "eose-finish", EOSEMore: "eose-more",
	EOSEAuth: "eose-auth", Counted: "counted", Reconciled: "reconciled",
	NegRefused: "neg-refused", Endless: "endless", Closed: "closed", Notice: "notice", Idle: "idle",
	Slow: "slow", Stopped: "stopped", Disconnect: "disconnect", Malformed: "malformed",
	Oversize: "oversize",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Terminal is how a request ended, as a value: remote trouble is no error.
type Terminal struct {
	Kind Kind
	// Prefix is the machine-readable prefix of a CLOSED, NOTICE or OK message
	// (NIP-01) or NEG-ERR, such as "auth-required"; empty when there is none.
	Prefix string
	// Message is the text of a CLOSED, NOTICE, NEG-ERR or close frame, printable and at
	// most 300 bytes long. It is for people; nothing is decided by it.
	Message string
	// Code is the WebSocket close code of a Disconnect; 0 when none came.
	Code int
	// Limit is how many records the relay says it reconciles at most, of a
	// NegRefused; 0 when it does not say.
	Limit int64
}

// EOSE reports whether the request ended by an EOSE, with or without a hint.
func (t Terminal) EOSE() bool { return t.Kind >= EOSE && t.Kind <= EOSEAuth }

// Lost reports whether the connection is gone.
func (t Terminal) Lost() bool {
	return t.Kind == Disconnect || t.Kind == Malformed || t.Kind == Oversize
}

// Cause is the cause of a failed read; empty when the read did not fail.
func (t Terminal) Cause() dial.Cause {
	switch t.Kind {
	case EOSE, EOSEFinish, EOSEMore, EOSEAuth, Counted, Reconciled, Stopped, Unended:
		return ""
	case Idle, Slow, Endless:
		return dial.CauseReadTimeout
	case Disconnect:
		return dial.CauseDisconnected
	case Malformed, Oversize:
		return dial.CauseNoNostr
	}
	switch t.Prefix { // of a CLOSED, NOTICE or NEG-ERR
	case nostr.PrefixAuthRequired:
		return dial.CauseReadAuth
	case nostr.PrefixRateLimited:
		return dial.CauseRateLimited
	}
	return dial.CauseReadRestricted
}

// endOf makes the terminal of an EOSE.
func endOf(hints nostr.Hints) Terminal {
	switch {
	case hints.Has(nostr.HintAuth):
		return Terminal{Kind: EOSEAuth}
	case hints.Has(nostr.HintMore):
		return Terminal{Kind: EOSEMore}
	case hints.Has(nostr.HintFinish):
		return Terminal{Kind: EOSEFinish}
	}
	return Terminal{Kind: EOSE}
}

// spoken makes a terminal of what a relay says in words.
func spoken(kind Kind, text string) Terminal {
	return Terminal{Kind: kind, Prefix: nostr.Prefix(text), Message: printable(text)}
}

// maxText bounds a relay's words where they are kept.
const maxText = 300

// printable makes text fit for a log, a table or a terminal: one line, nothing
// that moves a cursor or turns the direction of writing, and bounded.
func printable(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	out := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	for len(out) > maxText {
		_, n := utf8.DecodeLastRuneInString(out)
		out = out[:len(out)-n]
	}
	return strings.TrimSpace(out)
}
