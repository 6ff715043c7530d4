-- +goose Up

-- How a relay, or a host with all of its relays, wants to be asked, as its
-- complaints have taught: spacing in milliseconds, until is when it may be asked
-- again; and what visits have received of it in a UTC day.
CREATE TABLE pace (
    target     text COLLATE "C" PRIMARY KEY,
    spacing    bigint NOT NULL,
    parallel   bigint NOT NULL,
    complaints bigint NOT NULL,
    at         bigint NOT NULL,
    until      bigint NOT NULL,
    day        bigint NOT NULL,
    bytes      bigint NOT NULL
);

-- For how many seconds below what was proved events still come late, and how many
-- seconds lie between two visits; 0 while not learned.
ALTER TABLE calibration ADD COLUMN overlap bigint NOT NULL DEFAULT 0;
ALTER TABLE calibration ADD COLUMN visit_every bigint NOT NULL DEFAULT 0;
