-- +goose Up

-- Live subscriptions. since is 0 while none stands; heard is up to when every
-- arrival is archived, alive the last sign of life; ahead says that what is
-- dated ahead was read since; proved is when a look at the relay last agreed
-- with what came by its tail, 0 never.
CREATE TABLE tail (
    relay_id integer PRIMARY KEY,
    since    bigint NOT NULL DEFAULT 0,
    heard    bigint NOT NULL DEFAULT 0,
    alive    bigint NOT NULL DEFAULT 0,
    ahead    boolean NOT NULL DEFAULT false,
    proved   bigint NOT NULL DEFAULT 0,
    cause    text NOT NULL DEFAULT ''
);

-- The tail that keeps a claim, by its since; 0 none.
ALTER TABLE coverage ADD COLUMN tail_since bigint NOT NULL DEFAULT 0;

-- When events that arrived at a relay may have been missed; until is 0 while no
-- tail stands again.
CREATE TABLE arrival_gap (
    relay_id integer NOT NULL,
    since    bigint NOT NULL,
    until    bigint NOT NULL,
    cause    text NOT NULL,
    PRIMARY KEY (relay_id, since)
);

-- Stretches of claims that were read again: kind is "old" or "tail".
CREATE TABLE sample (
    relay_id integer NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    at       bigint NOT NULL,
    seen     bigint NOT NULL,
    missed   bigint NOT NULL,
    PRIMARY KEY (relay_id, kind, at)
);
