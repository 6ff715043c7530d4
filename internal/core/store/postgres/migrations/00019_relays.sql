-- +goose Up

-- What lists of relays search and sort by, repeated like the columns before it:
-- of the newest document of the relay and of its place (lat and lon are both 0
-- where that is not known), and how it fared in the 30 days before its newest
-- check. nips is a JSON array of texts. All of it is there again after the next
-- check.
ALTER TABLE relay
    ADD COLUMN version text NOT NULL DEFAULT '',
    ADD COLUMN nips text NOT NULL DEFAULT '[]',
    ADD COLUMN auth boolean NOT NULL DEFAULT false,
    ADD COLUMN payment boolean NOT NULL DEFAULT false,
    ADD COLUMN restricted boolean NOT NULL DEFAULT false,
    ADD COLUMN country text NOT NULL DEFAULT '',
    ADD COLUMN city text NOT NULL DEFAULT '',
    ADD COLUMN asn bigint NOT NULL DEFAULT 0,
    ADD COLUMN org text NOT NULL DEFAULT '',
    ADD COLUMN lat double precision NOT NULL DEFAULT 0,
    ADD COLUMN lon double precision NOT NULL DEFAULT 0,
    ADD COLUMN month_up double precision NOT NULL DEFAULT 0,
    ADD COLUMN month_watched bigint NOT NULL DEFAULT 0,
    ADD COLUMN open_p95 double precision NOT NULL DEFAULT 0,
    ADD COLUMN read_p95 double precision NOT NULL DEFAULT 0;

-- The outages of all relays, newest first.
CREATE INDEX outage_time ON outage (started, relay_id);
