-- +goose Up

-- Requests for work (NIP-90). request and answer are events as JSON, payment is
-- the service's own note.
CREATE TABLE job (
    id          BLOB PRIMARY KEY,
    customer    BLOB NOT NULL,
    at          INTEGER NOT NULL,
    request     BLOB NOT NULL,
    state       TEXT NOT NULL,
    payment     BLOB,
    answer      BLOB,
    due_at      INTEGER NOT NULL,
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX job_due ON job (due_at, id) WHERE state IN ('open', 'unpaid', 'answered');
CREATE INDEX job_at ON job (at);
