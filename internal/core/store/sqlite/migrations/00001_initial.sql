-- +goose Up

-- Promoted relays. The columns after alias_of repeat the newest results of
-- their probes, so that a list of relays reads one table.
CREATE TABLE relay (
    id          INTEGER PRIMARY KEY,
    url         TEXT NOT NULL UNIQUE,
    network     TEXT NOT NULL,
    first_seen  INTEGER NOT NULL,
    promoted_at INTEGER NOT NULL,
    state       TEXT NOT NULL DEFAULT 'new',
    state_since INTEGER NOT NULL,
    cause       TEXT NOT NULL DEFAULT '',
    last_up     INTEGER NOT NULL DEFAULT 0,
    failures    INTEGER NOT NULL DEFAULT 0,
    alias_of    INTEGER NOT NULL DEFAULT 0,
    checked_at  INTEGER NOT NULL DEFAULT 0,
    open_ms     REAL NOT NULL DEFAULT 0,
    read_ms     REAL NOT NULL DEFAULT 0,
    name        TEXT NOT NULL DEFAULT '',
    software    TEXT NOT NULL DEFAULT ''
) STRICT;

-- class is the rank of the strongest class that mentions the URL, 0 strongest.
CREATE TABLE candidate (
    url         TEXT PRIMARY KEY,
    network     TEXT NOT NULL,
    first_seen  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    next_due    INTEGER NOT NULL,
    last_cause  TEXT NOT NULL DEFAULT '',
    class       INTEGER NOT NULL,
    authors     INTEGER NOT NULL,
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX candidate_rank ON candidate (class, authors DESC, next_due, url);

-- Where a URL was seen; authors is a store.Distinct.
CREATE TABLE mention (
    url        TEXT NOT NULL,
    class      INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    authors    BLOB NOT NULL,
    PRIMARY KEY (url, class)
) STRICT;

-- tags is a JSON array. raw holds the exact event as JSON when text columns
-- cannot: a NUL or a lone surrogate; tags and content then hold U+FFFD in
-- their place.
CREATE TABLE event (
    seq        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    pubkey     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    sig        BLOB NOT NULL,
    tags       TEXT NOT NULL,
    content    TEXT NOT NULL,
    raw        BLOB
) STRICT;
CREATE INDEX event_time ON event (created_at);
CREATE INDEX event_kind ON event (kind, created_at);

-- The inverted index: h is the hash of a tag ("e:…"), of the author or of the
-- author and a kind. New rows gather in term_new in the order of arrival and
-- are merged in the order of h, many at a time: random inserts of single rows
-- would rewrite a page each. A reader looks into both, term_new first.
CREATE TABLE term (
    h          INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    PRIMARY KEY (h, created_at, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE term_new (
    seq        INTEGER NOT NULL,
    h          INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    PRIMARY KEY (seq, h)
) STRICT, WITHOUT ROWID;

CREATE TABLE sighting (
    relay_id  INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL,
    PRIMARY KEY (relay_id, event_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX sighting_event ON sighting (event_seq);

-- Sightings that the sums do not hold yet: seqs is a list of varint steps.
CREATE TABLE sighting_log (
    id       INTEGER PRIMARY KEY,
    relay_id INTEGER NOT NULL,
    seqs     BLOB NOT NULL
) STRICT;

-- What kind 5 events ask to forget: h is the hash of "e:id" or "a:address",
-- author the first eight bytes of who asks.
CREATE TABLE deletion (
    h          INTEGER NOT NULL,
    author     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (h, author, created_at, seq)
) STRICT, WITHOUT ROWID;

-- What is kept out: of an author every event up to a time, or an event id.
-- purged is 0 until what was archived before is gone.
CREATE TABLE tombstone (
    target BLOB PRIMARY KEY,
    until  INTEGER NOT NULL,
    purged INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
    relay_id INTEGER NOT NULL,
    digest   INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    at       INTEGER NOT NULL,
    raw      BLOB NOT NULL,
    PRIMARY KEY (relay_id, digest)
) STRICT;
CREATE TABLE quarantine_count (
    relay_id INTEGER PRIMARY KEY,
    kept     INTEGER NOT NULL,
    dropped  INTEGER NOT NULL
) STRICT;

CREATE TABLE filter (
    id   INTEGER PRIMARY KEY,
    json TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE coverage (
    relay_id  INTEGER NOT NULL,
    filter_id INTEGER NOT NULL,
    lo        INTEGER NOT NULL,
    hi        INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    as_of     INTEGER NOT NULL,
    method    TEXT NOT NULL,
    n         INTEGER NOT NULL,
    PRIMARY KEY (relay_id, filter_id, lo)
) STRICT, WITHOUT ROWID;

CREATE TABLE hole (
    relay_id  INTEGER NOT NULL,
    filter_id INTEGER NOT NULL,
    lo        INTEGER NOT NULL,
    hi        INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    n         INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL,
    next_try  INTEGER NOT NULL,
    PRIMARY KEY (relay_id, filter_id, lo, hi, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE calibration (
    relay_id        INTEGER PRIMARY KEY,
    at              INTEGER NOT NULL,
    max_limit       INTEGER NOT NULL,
    largest_page    INTEGER NOT NULL,
    page_order      TEXT NOT NULL,
    post_filtering  INTEGER NOT NULL,
    exclusive_until INTEGER NOT NULL,
    ignores_until   INTEGER NOT NULL,
    counts          INTEGER NOT NULL,
    open_refused    INTEGER NOT NULL
) STRICT;

CREATE TABLE work (
    service     TEXT NOT NULL,
    relay_id    INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (service, relay_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX work_due ON work (service, due_at, relay_id);

CREATE TABLE document (
    id   BLOB PRIMARY KEY,
    type TEXT NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- numbers is a JSON object.
CREATE TABLE check_result (
    relay_id    INTEGER NOT NULL,
    probe       TEXT NOT NULL,
    at          INTEGER NOT NULL,
    ok          INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    numbers     TEXT NOT NULL,
    detail      TEXT NOT NULL,
    document_id BLOB,
    PRIMARY KEY (relay_id, probe, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE outage (
    relay_id INTEGER NOT NULL,
    started  INTEGER NOT NULL,
    ended    INTEGER NOT NULL DEFAULT 0,
    cause    TEXT NOT NULL,
    PRIMARY KEY (relay_id, started)
) STRICT, WITHOUT ROWID;

-- Where a reader of new events stands.
CREATE TABLE position (
    reader TEXT PRIMARY KEY,
    cursor TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The sums. authors is a store.Distinct. rollup_total has the rows "events",
-- whose seq is how far events are counted, and "sightings".
CREATE TABLE rollup_total (
    name    TEXT PRIMARY KEY,
    n       INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    authors BLOB NOT NULL
) STRICT;
CREATE TABLE rollup_day (
    day     INTEGER PRIMARY KEY,
    n       INTEGER NOT NULL,
    authors BLOB NOT NULL
) STRICT;
CREATE TABLE rollup_kind (
    kind    INTEGER PRIMARY KEY,
    n       INTEGER NOT NULL,
    authors BLOB NOT NULL
) STRICT;
CREATE TABLE rollup_day_kind (
    day  INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (day, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_relay (
    relay_id INTEGER PRIMARY KEY,
    n        INTEGER NOT NULL
) STRICT;
CREATE TABLE rollup_relay_kind (
    relay_id INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (relay_id, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_relay_day (
    relay_id INTEGER NOT NULL,
    day      INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (relay_id, day)
) STRICT, WITHOUT ROWID;
INSERT INTO rollup_total VALUES ('events', 0, 0, x''), ('sightings', 0, 0, x'');
