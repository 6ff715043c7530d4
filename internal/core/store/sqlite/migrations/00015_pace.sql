-- +goose Up

-- How a relay, or a host with all of its relays, wants to be asked, as its
-- complaints have taught: spacing in milliseconds, until is when it may be asked
-- again; and what visits have received of it in a UTC day.
CREATE TABLE pace (
    target     TEXT PRIMARY KEY,
    spacing    INTEGER NOT NULL,
    parallel   INTEGER NOT NULL,
    complaints INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- For how many seconds below what was proved events still come late, and how many
-- seconds lie between two visits; 0 while not learned.
ALTER TABLE calibration ADD COLUMN overlap INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calibration ADD COLUMN visit_every INTEGER NOT NULL DEFAULT 0;
