-- +goose Up

-- The versions of replaceable and addressable events, so that the newest of a line
-- is found however many lines its author has.
CREATE INDEX event_line ON event (author, kind, coalesce(d, 0), created_at DESC)
    WHERE kind = 0 OR kind = 3 OR kind >= 10000 AND kind < 20000 OR kind >= 30000 AND kind < 40000;

-- Finds the newest version in each line, no older than a time; of one second it is
-- that of the lowest id. d is 0 for kinds that have none. Names the line by its place.
-- +goose StatementBegin
CREATE FUNCTION newest_versions(pubkeys bytea[], authors bigint[], kinds bigint[], ds bigint[], sinces bigint[])
RETURNS TABLE (place bigint, newest_at bigint, newest_id bytea)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    RETURN QUERY
    SELECT w.place, e.created_at, e.id
    FROM unnest(pubkeys, authors, kinds, ds, sinces) WITH ORDINALITY AS w (pubkey, author, kind, d, since, place), LATERAL (
        SELECT v.created_at, v.id FROM event v
        WHERE v.author = w.author AND v.kind = w.kind AND coalesce(v.d, 0) = w.d AND v.created_at >= w.since AND v.pubkey = w.pubkey
            AND (v.kind = 0 OR v.kind = 3 OR v.kind >= 10000 AND v.kind < 20000 OR v.kind >= 30000 AND v.kind < 40000)
        ORDER BY v.created_at DESC, v.id LIMIT 1
    ) e;
END $$;
-- +goose StatementEnd
