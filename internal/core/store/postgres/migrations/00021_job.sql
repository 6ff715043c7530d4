-- +goose Up

-- Requests for work (NIP-90). request and answer are events as JSON, payment is
-- the service's own note.
CREATE TABLE job (
    id          bytea PRIMARY KEY,
    customer    bytea NOT NULL,
    at          bigint NOT NULL,
    request     bytea NOT NULL,
    state       text NOT NULL,
    payment     bytea,
    answer      bytea,
    due_at      bigint NOT NULL,
    lease_owner text NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0
);
CREATE INDEX job_due ON job (due_at, id) WHERE state IN ('open', 'unpaid', 'answered');
CREATE INDEX job_at ON job (at);
