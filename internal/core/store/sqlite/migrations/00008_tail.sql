-- +goose Up

-- Live subscriptions. since is 0 while none stands; heard is up to when every
-- arrival is archived, alive the last sign of life; ahead says that what is
-- dated ahead was read since; proved is when a look at the relay last agreed
-- with what came by its tail, 0 never.
CREATE TABLE tail (
    relay_id INTEGER PRIMARY KEY,
    since    INTEGER NOT NULL DEFAULT 0,
    heard    INTEGER NOT NULL DEFAULT 0,
    alive    INTEGER NOT NULL DEFAULT 0,
    ahead    INTEGER NOT NULL DEFAULT 0,
    proved   INTEGER NOT NULL DEFAULT 0,
    cause    TEXT NOT NULL DEFAULT ''
) STRICT;

-- The tail that keeps a claim, by its since; 0 none.
ALTER TABLE coverage ADD COLUMN tail_since INTEGER NOT NULL DEFAULT 0;

-- When events that arrived at a relay may have been missed; until is 0 while no
-- tail stands again.
CREATE TABLE arrival_gap (
    relay_id INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    cause    TEXT NOT NULL,
    PRIMARY KEY (relay_id, since)
) STRICT, WITHOUT ROWID;

-- Stretches of claims that were read again: kind is "old" or "tail".
CREATE TABLE sample (
    relay_id INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    seen     INTEGER NOT NULL,
    missed   INTEGER NOT NULL,
    PRIMARY KEY (relay_id, kind, at)
) STRICT, WITHOUT ROWID;
