-- +goose Up

-- The host of a URL, which many URLs may share; and why the operator keeps a
-- URL out: 'removed', until somebody mentions it again, or 'banned'.
ALTER TABLE relay
    ADD COLUMN host text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN kept_out text NOT NULL DEFAULT '';
ALTER TABLE candidate
    ADD COLUMN host text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN kept_out text NOT NULL DEFAULT '';
UPDATE relay SET host = trim('[]' FROM substring(url FROM '^wss?://(\[[^]]*\]|[^:/]*)'));
UPDATE candidate SET host = trim('[]' FROM substring(url FROM '^wss?://(\[[^]]*\]|[^:/]*)'));
CREATE INDEX relay_host ON relay (host);
CREATE INDEX candidate_host ON candidate (host);

-- What the operator keeps out: a URL, or a host with all its URLs.
CREATE TABLE ban (
    target text COLLATE "C" PRIMARY KEY,
    at     bigint NOT NULL,
    reason text NOT NULL
);

-- By what relays are recognised under other URLs: kind says what value is.
CREATE TABLE trait (
    relay_id integer NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    value    bytea NOT NULL,
    at       bigint NOT NULL,
    PRIMARY KEY (relay_id, kind, value)
);
CREATE INDEX trait_value ON trait (kind, value);

-- Places other than events that name relays and are asked now and then: class
-- is the rank of what they give, name a URL or a domain, authors a
-- store.Distinct of who names the place.
CREATE TABLE source (
    class       integer NOT NULL,
    name        text COLLATE "C" NOT NULL,
    host        text COLLATE "C" NOT NULL,
    detail      text NOT NULL,
    first_seen  bigint NOT NULL,
    n           bigint NOT NULL,
    authors     bytea NOT NULL,
    next_due    bigint NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    last_cause  text NOT NULL DEFAULT '',
    last_ok     bigint NOT NULL DEFAULT 0,
    etag        text NOT NULL DEFAULT '',
    lease_owner text NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (class, name)
);
CREATE INDEX source_due ON source (class, next_due, name);

-- Documents in which nobody has looked for relays yet.
ALTER TABLE document ADD COLUMN searched boolean NOT NULL DEFAULT false;
CREATE INDEX document_new ON document (id) WHERE NOT searched;
