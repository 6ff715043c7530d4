package synchronizer

import (
	"context"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

// AuthMode says who we are to relays that ask (NIP-42).
type AuthMode string

// Who we are.
const (
	AuthNone      AuthMode = "none"      // nobody: such relays stay closed
	AuthEphemeral AuthMode = "ephemeral" // a key that is made for a visit, or a tail, and forgotten
	AuthKey       AuthMode = "key"       // the key of the configuration
)

// Choices implements config.Choices.
func (AuthMode) Choices() []string {
	return []string{string(AuthNone), string(AuthEphemeral), string(AuthKey)}
}

// signer is who we are to one relay; nil when we are nobody.
func (c Config) signer() session.Signer {
	switch c.Auth {
	case AuthEphemeral:
		return nostr.GenerateKey()
	case AuthKey:
		if key, err := nip19.ParseSecret(c.Key.Reveal()); err == nil { // Validate has seen that it is one
			return key
		}
	}
	return nil
}

// login is a connection on which we say who we are when the relay wants to know,
// once, and ask again then.
type login struct {
	*session.Session
	signer session.Signer
	spent  func(bytes int64) // counts a request that is sent again

	turn   chan struct{} // one entry: the right to the rest, as several requests may be under way
	tried  bool
	result store.AuthResult
}

func newLogin(s *session.Session, signer session.Signer, spent func(bytes int64)) *login {
	return &login{Session: s, signer: signer, spent: spent, turn: make(chan struct{}, 1)}
}

func (l *login) lock() (unlock func()) {
	l.turn <- struct{}{}
	return func() { <-l.turn }
}

// outcome is how the relay has answered to authentication so far.
func (l *login) outcome() store.AuthResult {
	defer l.lock()()
	return l.result
}

// open authenticates, if that was not tried before. It reports whether the relay
// took it.
func (l *login) open(ctx context.Context) (bool, error) {
	defer l.lock()()
	return l.try(ctx)
}

// try is open for whose turn it is.
func (l *login) try(ctx context.Context) (bool, error) {
	if l.tried || l.signer == nil || l.Challenge() == "" {
		return false, nil
	}
	l.tried = true
	ok, err := l.Auth(ctx, l.signer)
	switch {
	case err != nil:
		return false, err
	case ok.End.Kind != session.Unended:
		return false, nil // the connection is lost, or the relay says nothing
	case ok.Accepted:
		l.result = store.AuthAccepted
	default:
		l.result = store.AuthRefused
	}
	return ok.Accepted, nil
}

// wanted reports whether a request that has ended is to be sent again, because
// the relay wanted to know who asks, and was told since it was sent. The answer so
// far had bytes; before is what the outcome was when it was sent.
func (l *login) wanted(ctx context.Context, end session.Terminal, bytes int64, before store.AuthResult) (bool, error) {
	if end.Cause() != dial.CauseReadAuth {
		return false, nil
	}
	defer l.lock()()
	told := l.result == store.AuthAccepted && before != store.AuthAccepted // another request did it
	if !told {
		var err error
		if told, err = l.try(ctx); err != nil {
			return false, err
		}
	}
	if told {
		l.spent(bytes)
	}
	return told, nil
}

// closed notes that a relay that took our key lets us in no more than before.
func (l *login) closed(end session.Terminal) {
	if cause := end.Cause(); cause == dial.CauseReadAuth || end.Prefix == nostr.PrefixRestricted {
		defer l.lock()()
		l.result = store.AuthRefused
	}
}

// Req implements pager.
func (l *login) Req(ctx context.Context, f nostr.Filter, visit func(raw []byte) error) (session.Page, error) {
	before := l.outcome()
	p, err := l.Session.Req(ctx, f, visit)
	if err != nil || p.Events > 0 {
		return p, err
	}
	again, err := l.wanted(ctx, p.End, p.Bytes, before)
	if err != nil || !again {
		return p, err
	}
	p, err = l.Session.Req(ctx, f, visit)
	l.closed(p.End)
	return p, err
}

// Count implements pager.
func (l *login) Count(ctx context.Context, f nostr.Filter) (nostr.CountResult, session.Page, error) {
	before := l.outcome()
	n, p, err := l.Session.Count(ctx, f)
	if err != nil {
		return n, p, err
	}
	again, err := l.wanted(ctx, p.End, p.Bytes, before)
	if err != nil || !again {
		return n, p, err
	}
	return l.Session.Count(ctx, f)
}

// Reconcile implements pager.
func (l *login) Reconcile(ctx context.Context, f nostr.Filter, first []byte, step func([]byte) ([]byte, error)) (session.Reconciliation, error) {
	before := l.outcome()
	r, err := l.Session.Reconcile(ctx, f, first, step)
	if err != nil || r.Rounds > 0 {
		return r, err
	}
	again, err := l.wanted(ctx, r.End, r.Bytes, before)
	if err != nil || !again {
		return r, err
	}
	return l.Session.Reconcile(ctx, f, first, step)
}

// opens authenticates where a relay hints that it would show more then (NIP-67). It
// reports whether the page is to be asked for again.
func (v *visit) opens(ctx context.Context, p *page) (bool, error) {
	l, ok := v.pager.(*login)
	if !ok || p.end.Kind != session.EOSEAuth {
		return false, nil
	}
	return l.open(ctx)
}

// authenticated reports whether the relay shows what it does to the key that we
// have shown it, which is not what it shows to others.
func (v *visit) authenticated() bool {
	l, ok := v.pager.(*login)
	return ok && l.outcome() == store.AuthAccepted
}

// noteLogin takes over how the relay has answered to authentication.
func (v *visit) noteLogin() {
	l, ok := v.pager.(*login)
	if !ok {
		return
	}
	if result := l.outcome(); result != store.AuthNone {
		v.report.Auth = result
		if v.cal.Auth != result {
			v.cal.Auth, v.learned = result, true
		}
	}
}
