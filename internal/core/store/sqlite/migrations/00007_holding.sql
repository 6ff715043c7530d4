-- +goose Up

-- A negative seen_at says that the relay named the event (NIP-77) and has not
-- delivered it; ~seen_at is when. gone_at is when the relay had it no longer,
-- NULL while it has it.
ALTER TABLE sighting ADD COLUMN gone_at INTEGER;

-- What relays have and the archive has not: hold is a store.Hold, at a time
-- within the range in which the relay named the id.
CREATE TABLE missing (
    relay_id INTEGER NOT NULL,
    id       BLOB NOT NULL,
    at       INTEGER NOT NULL,
    hold     INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    PRIMARY KEY (relay_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX missing_time ON missing (relay_id, at);

-- How many ids a relay has of a day, and their sum modulo 2^256, little-endian:
-- sightings that are not gone, and what is missing.
CREATE TABLE relay_day (
    relay_id INTEGER NOT NULL,
    day      INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    sum      BLOB NOT NULL,
    PRIMARY KEY (relay_id, day)
) STRICT, WITHOUT ROWID;

-- The relays that have sums. Of their sightings those are in them whose
-- event_seq is lower than below, which is beyond all when the sums are whole.
CREATE TABLE relay_summed (
    relay_id INTEGER PRIMARY KEY,
    below    INTEGER NOT NULL
) STRICT;
