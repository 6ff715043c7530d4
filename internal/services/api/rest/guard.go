package rest

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/time/rate"
)

var (
	errKey  = errors.New("a key is wanted as \"Authorization: Bearer …\", and this is none of them")
	errRate = errors.New("too many requests; a client may make some per second")
)

// clients keeps account of how much each client asks.
type clients struct {
	cfg  Config
	keys [][sha256.Size]byte

	mu       sync.Mutex
	accounts map[string]*rate.Limiter
}

const (
	// maxAccounts is how many clients are remembered.
	maxAccounts = 10_000
	// burst is for how many seconds' worth of requests a client may come at once.
	burst = 4
)

func newClients(cfg Config) *clients {
	c := &clients{cfg: cfg, accounts: map[string]*rate.Limiter{}}
	for _, key := range cfg.Keys {
		c.keys = append(c.keys, sha256.Sum256([]byte(key.Reveal())))
	}
	return c
}

// admit tells whether a request of a client is answered: errKey for a wrong or
// missing key, errRate for one too many. A wrong key counts, too, so that nobody
// tries many.
func (c *clients) admit(client, authorization string) error {
	perSecond, who := c.cfg.PerSecond, client
	var refused error
	switch key, err := c.key(authorization); {
	case err != nil:
		refused = err
	case key != "":
		perSecond, who = c.cfg.KeyPerSecond, key
	case c.cfg.KeysOnly:
		refused = errKey
	}
	if !c.account(who, perSecond).Allow() {
		return errRate
	}
	return refused
}

// key returns a name for the key that a header shows; empty when it shows none.
// It takes the same time whatever the key is.
func (c *clients) key(authorization string) (string, error) {
	scheme, key, _ := strings.Cut(authorization, " ")
	if authorization == "" || len(c.keys) == 0 {
		return "", nil
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errKey
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(key)))
	found := 0
	for i := range c.keys {
		found |= subtle.ConstantTimeCompare(sum[:], c.keys[i][:])
	}
	if found == 0 {
		return "", errKey
	}
	return "key " + hex.EncodeToString(sum[:]), nil
}

// account returns the rate of a client. When there are too many, those that are
// at rest are forgotten, who get the same account again, and else any.
func (c *clients) account(who string, perSecond int) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit := c.accounts[who]; limit != nil {
		return limit
	}
	if len(c.accounts) >= maxAccounts {
		for key, limit := range c.accounts {
			if limit.Tokens() >= float64(limit.Burst()) {
				delete(c.accounts, key)
			}
		}
		for key := range c.accounts {
			if len(c.accounts) < maxAccounts {
				break
			}
			delete(c.accounts, key)
		}
	}
	limit := rate.NewLimiter(rate.Limit(perSecond), burst*perSecond)
	c.accounts[who] = limit
	return limit
}

// maxTagged is the size of an answer up to which it has a tag.
const maxTagged = 1 << 20

// tagged gives answers an ETag of what is in them, and answers who has them
// already with 304. The tag is a weak one: the answer may be compressed.
func (a *API) tagged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &tagging{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(t, r)
		t.end(r.Header.Get("If-None-Match"))
	})
}

// tagging holds an answer back until it is whole, or too large.
type tagging struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	passes bool // what follows is not held back
}

func (t *tagging) WriteHeader(status int) {
	if t.status = status; status != http.StatusOK {
		t.pass()
	}
}

func (t *tagging) Write(b []byte) (int, error) {
	if !t.passes && t.body.Len()+len(b) > maxTagged {
		t.pass()
	}
	if t.passes {
		return t.ResponseWriter.Write(b)
	}
	return t.body.Write(b)
}

// pass gives out what was held back.
func (t *tagging) pass() {
	if t.passes {
		return
	}
	t.passes = true
	t.ResponseWriter.WriteHeader(t.status)
	_, _ = t.body.WriteTo(t.ResponseWriter)
}

func (t *tagging) end(known string) {
	if !t.passes && t.Header().Get("ETag") == "" {
		sum := sha256.Sum256(t.body.Bytes())
		tag := `W/"` + hex.EncodeToString(sum[:12]) + `"`
		t.Header().Set("ETag", tag)
		if matches(known, tag) {
			t.Header().Del("Content-Type")
			t.status = http.StatusNotModified
			t.body.Reset()
		}
	}
	t.pass()
}

// matches tells whether a header If-None-Match names a tag.
func matches(known, tag string) bool {
	for one := range strings.SplitSeq(known, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}
