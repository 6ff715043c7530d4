-- +goose Up

-- The host of a URL, which many URLs may share; and why the operator keeps a
-- URL out: 'removed', until somebody mentions it again, or 'banned'.
ALTER TABLE relay ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE relay ADD COLUMN kept_out TEXT NOT NULL DEFAULT '';
ALTER TABLE candidate ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE candidate ADD COLUMN kept_out TEXT NOT NULL DEFAULT '';
UPDATE relay SET host = substr(url, instr(url, '://') + 3) || '/';
UPDATE relay SET host = substr(host, 1, instr(host, '/') - 1);
UPDATE relay SET host = CASE WHEN host LIKE '[%' THEN substr(host, 2, instr(host, ']') - 2)
    WHEN instr(host, ':') > 0 THEN substr(host, 1, instr(host, ':') - 1) ELSE host END;
UPDATE candidate SET host = substr(url, instr(url, '://') + 3) || '/';
UPDATE candidate SET host = substr(host, 1, instr(host, '/') - 1);
UPDATE candidate SET host = CASE WHEN host LIKE '[%' THEN substr(host, 2, instr(host, ']') - 2)
    WHEN instr(host, ':') > 0 THEN substr(host, 1, instr(host, ':') - 1) ELSE host END;
CREATE INDEX relay_host ON relay (host);
CREATE INDEX candidate_host ON candidate (host);

-- What the operator keeps out: a URL, or a host with all its URLs.
CREATE TABLE ban (
    target TEXT PRIMARY KEY,
    at     INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- By what relays are recognised under other URLs: kind says what value is.
CREATE TABLE trait (
    relay_id INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    value    BLOB NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (relay_id, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX trait_value ON trait (kind, value);

-- Places other than events that name relays and are asked now and then: class
-- is the rank of what they give, name a URL or a domain, authors a
-- store.Distinct of who names the place.
CREATE TABLE source (
    class       INTEGER NOT NULL,
    name        TEXT NOT NULL,
    host        TEXT NOT NULL,
    detail      TEXT NOT NULL,
    first_seen  INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    authors     BLOB NOT NULL,
    next_due    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_cause  TEXT NOT NULL DEFAULT '',
    last_ok     INTEGER NOT NULL DEFAULT 0,
    etag        TEXT NOT NULL DEFAULT '',
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (class, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX source_due ON source (class, next_due, name);

-- Documents in which nobody has looked for relays yet.
ALTER TABLE document ADD COLUMN searched INTEGER NOT NULL DEFAULT 0;
CREATE INDEX document_new ON document (id) WHERE searched = 0;
