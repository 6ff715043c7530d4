-- +goose Up

-- What lists of relays search and sort by, repeated like the columns before it:
-- of the newest document of the relay and of its place (lat and lon are both 0
-- where that is not known), and how it fared in the 30 days before its newest
-- check. nips is a JSON array of texts. All of it is there again after the next
-- check.
ALTER TABLE relay ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE relay ADD COLUMN nips TEXT NOT NULL DEFAULT '[]';
ALTER TABLE relay ADD COLUMN auth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN payment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN restricted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN country TEXT NOT NULL DEFAULT '';
ALTER TABLE relay ADD COLUMN city TEXT NOT NULL DEFAULT '';
ALTER TABLE relay ADD COLUMN asn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN org TEXT NOT NULL DEFAULT '';
ALTER TABLE relay ADD COLUMN lat REAL NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN lon REAL NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN month_up REAL NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN month_watched INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN open_p95 REAL NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN read_p95 REAL NOT NULL DEFAULT 0;

-- The outages of all relays, newest first.
CREATE INDEX outage_time ON outage (started, relay_id);
