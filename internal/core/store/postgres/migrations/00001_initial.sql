-- +goose Up

-- The first eight bytes of SHA-256 of "name:value" as a number: what tagh
-- holds of a tag. The same as store.TagHash.
-- +goose StatementBegin
CREATE FUNCTION tag_hash(name text, value text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ('x' || encode(substring(sha256(convert_to(name || ':' || value, 'UTF8')) FROM 1 FOR 8), 'hex'))::bit(64)::bigint
$$;
-- +goose StatementEnd

CREATE TABLE setting (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- Promoted relays. The columns after alias_of repeat the newest results of
-- their probes, so that a list of relays reads one table.
CREATE TABLE relay (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    url         text COLLATE "C" NOT NULL UNIQUE,
    network     text NOT NULL,
    first_seen  bigint NOT NULL,
    promoted_at bigint NOT NULL,
    state       text NOT NULL DEFAULT 'new',
    state_since bigint NOT NULL,
    cause       text NOT NULL DEFAULT '',
    last_up     bigint NOT NULL DEFAULT 0,
    failures    integer NOT NULL DEFAULT 0,
    alias_of    integer NOT NULL DEFAULT 0,
    checked_at  bigint NOT NULL DEFAULT 0,
    open_ms     double precision NOT NULL DEFAULT 0,
    read_ms     double precision NOT NULL DEFAULT 0,
    name        text NOT NULL DEFAULT '',
    software    text NOT NULL DEFAULT ''
);

-- class is the rank of the strongest class that mentions the URL, 0 strongest.
CREATE TABLE candidate (
    url         text COLLATE "C" PRIMARY KEY,
    network     text NOT NULL,
    first_seen  bigint NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    next_due    bigint NOT NULL,
    last_cause  text NOT NULL DEFAULT '',
    class       integer NOT NULL,
    authors     bigint NOT NULL,
    lease_owner text NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0
);
CREATE INDEX candidate_rank ON candidate (class, authors DESC, next_due, url);

-- Where a URL was seen; authors is a store.Distinct.
CREATE TABLE mention (
    url        text COLLATE "C" NOT NULL,
    class      integer NOT NULL,
    first_seen bigint NOT NULL,
    last_seen  bigint NOT NULL,
    n          bigint NOT NULL,
    authors    bytea NOT NULL,
    PRIMARY KEY (url, class)
);

-- The stretches of created_at that event and sighting are partitioned by,
-- hi exclusive. The names end those of the partitions. The first and the last
-- are open towards dates that nobody would believe.
CREATE TABLE period (
    name text PRIMARY KEY,
    lo   bigint NOT NULL,
    hi   bigint NOT NULL
);

-- seq is the number of the ingest's block times 4,096 and the place in it.
-- author is the first eight bytes of pubkey, d the tag_hash of the d tag of
-- addressable events, expires the time of NIP-40. sig, tags and content are
-- null where only an index is kept. raw holds the exact event as JSON when tags
-- and content cannot: those have U+FFFD for a NUL or what is not UTF-8.
CREATE TABLE event (
    seq        bigint NOT NULL,
    created_at bigint NOT NULL,
    kind       bigint NOT NULL,
    author     bigint NOT NULL,
    first_seen bigint NOT NULL,
    d          bigint,
    expires    bigint,
    id         bytea NOT NULL,
    pubkey     bytea NOT NULL,
    tagh       bigint[],
    sig        bytea,
    tags       jsonb,
    content    text,
    raw        bytea
) PARTITION BY RANGE (created_at);
-- The id is the hash of a text with created_at in it, so this makes it unique.
-- Time falls in this and other indexes as it does when a relay is read from its
-- newest event back: pages fill that grow at the end, and halves of pages are
-- left where rows come before all others.
CREATE UNIQUE INDEX event_time ON event (created_at DESC, id);
CREATE INDEX event_id ON event USING hash (id);
CREATE INDEX event_seq ON event (seq);
CREATE INDEX event_author ON event (author, created_at DESC, kind);
CREATE INDEX event_kind ON event (kind, created_at DESC);
CREATE INDEX event_tagh ON event USING gin (tagh) WHERE tagh IS NOT NULL;

CREATE TABLE sighting (
    created_at bigint NOT NULL,
    event_seq  bigint NOT NULL,
    seen_at    bigint NOT NULL,
    relay_id   integer NOT NULL
) PARTITION BY RANGE (created_at);
CREATE UNIQUE INDEX sighting_relay ON sighting (relay_id, created_at DESC, event_seq);
CREATE INDEX sighting_event ON sighting (event_seq);

-- The numbers of blocks of events.
CREATE SEQUENCE event_block;

-- What was added, in the order in which it was committed: nr is taken last of
-- all in a transaction, under a lock that is held until it ends, so whoever sees
-- a number sees everything below it that will ever be there.
CREATE TABLE batch (
    nr        bigint PRIMARY KEY,
    first_seq bigint NOT NULL,
    n         integer NOT NULL,
    relay_id  integer NOT NULL
);
CREATE SEQUENCE batch_nr;

-- Sightings of events that were there already and that the sums do not hold
-- yet: the refresher takes whatever it sees, in any order.
CREATE TABLE sighting_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relay_id    integer NOT NULL,
    created_ats bigint[] NOT NULL,
    seqs        bigint[] NOT NULL
);

-- What kind 5 events ask to forget: h is the hash of "e:id" or "a:address",
-- author the first eight bytes of who asks.
CREATE TABLE deletion (
    h          bigint NOT NULL,
    author     bigint NOT NULL,
    created_at bigint NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (h, author, created_at, seq)
);

-- What is kept out: of an author every event up to a time, or an event id.
-- purged is false until what was archived before is gone.
CREATE TABLE tombstone (
    target bytea PRIMARY KEY,
    until  bigint NOT NULL,
    purged boolean NOT NULL
);

CREATE TABLE quarantine (
    relay_id integer NOT NULL,
    digest   bigint NOT NULL,
    reason   text NOT NULL,
    at       bigint NOT NULL,
    raw      bytea NOT NULL,
    PRIMARY KEY (relay_id, digest)
);
CREATE TABLE quarantine_count (
    relay_id integer PRIMARY KEY,
    kept     bigint NOT NULL,
    dropped  bigint NOT NULL
);

-- hash is the SHA-256 of json, which may be longer than an index row.
CREATE TABLE filter (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    json text NOT NULL
);

CREATE TABLE coverage (
    relay_id  integer NOT NULL,
    filter_id integer NOT NULL,
    lo        bigint NOT NULL,
    hi        bigint NOT NULL,
    level     smallint NOT NULL,
    as_of     bigint NOT NULL,
    method    text NOT NULL,
    n         bigint NOT NULL,
    PRIMARY KEY (relay_id, filter_id, lo)
);

CREATE TABLE hole (
    relay_id  integer NOT NULL,
    filter_id integer NOT NULL,
    lo        bigint NOT NULL,
    hi        bigint NOT NULL,
    kind      bigint NOT NULL,
    reason    text NOT NULL,
    n         bigint NOT NULL,
    seen_at   bigint NOT NULL,
    next_try  bigint NOT NULL,
    PRIMARY KEY (relay_id, filter_id, lo, hi, kind)
);

CREATE TABLE calibration (
    relay_id        integer PRIMARY KEY,
    at              bigint NOT NULL,
    max_limit       integer NOT NULL,
    largest_page    integer NOT NULL,
    page_order      text NOT NULL,
    post_filtering  boolean NOT NULL,
    exclusive_until boolean NOT NULL,
    ignores_until   boolean NOT NULL,
    counts          boolean NOT NULL,
    open_refused    boolean NOT NULL
);

CREATE TABLE work (
    service     text NOT NULL,
    relay_id    integer NOT NULL,
    due_at      bigint NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    lease_owner text NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (service, relay_id)
);
CREATE INDEX work_due ON work (service, due_at, relay_id);

CREATE TABLE document (
    id   bytea PRIMARY KEY,
    type text NOT NULL,
    data bytea NOT NULL
);

CREATE TABLE check_result (
    relay_id    integer NOT NULL,
    probe       text NOT NULL,
    at          bigint NOT NULL,
    ok          boolean NOT NULL,
    cause       text NOT NULL,
    numbers     jsonb NOT NULL,
    detail      text NOT NULL,
    document_id bytea,
    PRIMARY KEY (relay_id, probe, at)
);

CREATE TABLE outage (
    relay_id integer NOT NULL,
    started  bigint NOT NULL,
    ended    bigint NOT NULL DEFAULT 0,
    cause    text NOT NULL,
    PRIMARY KEY (relay_id, started)
);

-- Where a reader of new events stands.
CREATE TABLE reader_position (
    reader text PRIMARY KEY,
    cursor text NOT NULL
);

-- The sums. authors is a store.Distinct. rollup_total has the rows "events",
-- whose nr is how far batches are counted, and "sightings".
CREATE TABLE rollup_total (
    name    text PRIMARY KEY,
    n       bigint NOT NULL,
    nr      bigint NOT NULL,
    authors bytea NOT NULL
);
INSERT INTO rollup_total (name, n, nr, authors) VALUES ('events', 0, 0, ''), ('sightings', 0, 0, '');
CREATE TABLE rollup_day (
    day     bigint PRIMARY KEY,
    n       bigint NOT NULL,
    authors bytea NOT NULL
);
CREATE TABLE rollup_kind (
    kind    bigint PRIMARY KEY,
    n       bigint NOT NULL,
    authors bytea NOT NULL
);
CREATE TABLE rollup_day_kind (
    day  bigint NOT NULL,
    kind bigint NOT NULL,
    n    bigint NOT NULL,
    PRIMARY KEY (day, kind)
);
CREATE TABLE rollup_relay (
    relay_id integer PRIMARY KEY,
    n        bigint NOT NULL
);
CREATE TABLE rollup_relay_kind (
    relay_id integer NOT NULL,
    kind     bigint NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (relay_id, kind)
);
CREATE TABLE rollup_relay_day (
    relay_id integer NOT NULL,
    day      bigint NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (relay_id, day)
);
