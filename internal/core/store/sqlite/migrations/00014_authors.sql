-- +goose Up

-- How many authors a relay takes in a filter that refuses filters without any, 0
-- of others; and how it has answered to authentication (NIP-42).
ALTER TABLE calibration ADD COLUMN author_list INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calibration ADD COLUMN auth TEXT NOT NULL DEFAULT '';
