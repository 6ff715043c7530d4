-- +goose Up

-- The words of public texts (NIP-50).
CREATE TABLE event_text (
    created_at bigint NOT NULL,
    seq        bigint NOT NULL,
    words      tsvector NOT NULL,
    PRIMARY KEY (created_at, seq)
);
-- Searches would read a list of what is pending from its beginning to its end.
CREATE INDEX event_text_words ON event_text USING gin (words) WITH (fastupdate = off);

-- Nothing stays of what is purged, whoever purges.
-- +goose StatementBegin
CREATE FUNCTION forget_text() RETURNS trigger
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM event_text t USING gone g WHERE t.created_at = g.created_at AND t.seq = g.seq;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER event_text_gone AFTER DELETE ON event REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION forget_text();

-- Reads events at their places, with a plan that is kept: to make one looks into
-- every partition.
-- +goose StatementBegin
CREATE FUNCTION events_at(created_ats bigint[], seqs bigint[]) RETURNS SETOF event
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    SELECT e.* FROM unnest(created_ats, seqs) AS w (created_at, seq), LATERAL (
        SELECT * FROM event v WHERE v.created_at = w.created_at AND v.seq = w.seq OFFSET 0
    ) e;
END $$;
-- +goose StatementEnd
