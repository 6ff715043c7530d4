-- +goose Up

-- What receivers are to hear, once each: about is when what it tells of began
-- or will be, done whether it was delivered or given up.
CREATE TABLE alert (
    receiver    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    relay_id    INTEGER NOT NULL,
    about       INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    done        INTEGER NOT NULL DEFAULT 0,
    next_due    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (receiver, kind, relay_id, about)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_due ON alert (receiver, next_due) WHERE done = 0;
CREATE INDEX alert_at ON alert (at);
