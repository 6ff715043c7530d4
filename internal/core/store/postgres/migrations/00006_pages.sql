-- +goose Up

-- The pages of events that readers ask for. A statement about a table of twenty
-- partitions costs more to plan than to run, so those whose plan is the same for
-- all values live here: a connection plans each of them once. Every one takes the
-- stretch of created_at (inclusive), an id that those of its last second must
-- exceed, and how many are wanted; unexpired leaves out what expires up to then,
-- hidden the kinds named, each unless null. They go through the partitions from
-- the newest down and end when they have enough. Nothing here is worth a compiler,
-- a scan of a table or a second process, whatever the planner expects.

-- +goose StatementBegin
CREATE FUNCTION events_by_time(since bigint, until bigint, above bytea, most integer, hidden bigint[], unexpired bigint) RETURNS SETOF event
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    RETURN QUERY
    SELECT v.* FROM event v
    WHERE v.created_at >= since AND v.created_at <= until AND (v.created_at < until OR v.id > above)
        AND (hidden IS NULL OR v.kind <> ALL (hidden)) AND (unexpired IS NULL OR v.expires IS NULL OR v.expires > unexpired)
    ORDER BY v.created_at DESC, v.id LIMIT most;
END $$;
-- +goose StatementEnd

-- The next three merge streams, of each kind, of each author, of each pair. Where
-- the page ends if nothing is left out of it, an index tells; what is older is not
-- fetched unless something was.
-- +goose StatementBegin
CREATE FUNCTION events_by_kind(since bigint, until bigint, above bytea, most integer, kinds bigint[], unexpired bigint) RETURNS SETOF event
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    cut bigint;
    found integer;
BEGIN
    IF cardinality(kinds) > 1 THEN
        SELECT t.created_at INTO cut FROM unnest(kinds) AS w (kind), LATERAL (
            SELECT v.created_at FROM event v
            WHERE v.kind = w.kind AND v.created_at >= since AND v.created_at <= until
            ORDER BY v.created_at DESC LIMIT most
        ) t
        ORDER BY t.created_at DESC OFFSET most - 1 LIMIT 1;
    END IF;
    cut := coalesce(cut, since);
    LOOP
        RETURN QUERY
        SELECT e.* FROM unnest(kinds) AS w (kind), LATERAL (
            SELECT v.* FROM event v
            WHERE v.kind = w.kind AND v.created_at >= cut AND v.created_at <= until AND (v.created_at < until OR v.id > above)
                AND (unexpired IS NULL OR v.expires IS NULL OR v.expires > unexpired)
            ORDER BY v.created_at DESC, v.id LIMIT most
        ) e
        ORDER BY e.created_at DESC, e.id LIMIT most;
        GET DIAGNOSTICS found = ROW_COUNT;
        EXIT WHEN found = most OR cut <= since;
        most := most - found; until := cut - 1; above := ''; cut := since;
    END LOOP;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION events_by_author(since bigint, until bigint, above bytea, most integer, authors bigint[], hidden bigint[], unexpired bigint) RETURNS SETOF event
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    cut bigint;
    found integer;
BEGIN
    IF cardinality(authors) > 1 THEN
        SELECT t.created_at INTO cut FROM unnest(authors) AS w (author), LATERAL (
            SELECT v.created_at FROM event v
            WHERE v.author = w.author AND v.created_at >= since AND v.created_at <= until AND (hidden IS NULL OR v.kind <> ALL (hidden))
            ORDER BY v.created_at DESC LIMIT most
        ) t
        ORDER BY t.created_at DESC OFFSET most - 1 LIMIT 1;
    END IF;
    cut := coalesce(cut, since);
    LOOP
        RETURN QUERY
        SELECT e.* FROM unnest(authors) AS w (author), LATERAL (
            SELECT v.* FROM event v
            WHERE v.author = w.author AND v.created_at >= cut AND v.created_at <= until AND (v.created_at < until OR v.id > above)
                AND (hidden IS NULL OR v.kind <> ALL (hidden)) AND (unexpired IS NULL OR v.expires IS NULL OR v.expires > unexpired)
            ORDER BY v.created_at DESC, v.id LIMIT most
        ) e
        ORDER BY e.created_at DESC, e.id LIMIT most;
        GET DIAGNOSTICS found = ROW_COUNT;
        EXIT WHEN found = most OR cut <= since;
        most := most - found; until := cut - 1; above := ''; cut := since;
    END LOOP;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION events_by_author_and_kind(since bigint, until bigint, above bytea, most integer, authors bigint[], kinds bigint[], unexpired bigint) RETURNS SETOF event
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    cut bigint;
    found integer;
BEGIN
    IF cardinality(authors) > 1 THEN
        SELECT t.created_at INTO cut FROM unnest(authors, kinds) AS w (author, kind), LATERAL (
            SELECT v.created_at FROM event v
            WHERE v.author = w.author AND v.kind = w.kind AND v.created_at >= since AND v.created_at <= until
            ORDER BY v.created_at DESC LIMIT most
        ) t
        ORDER BY t.created_at DESC OFFSET most - 1 LIMIT 1;
    END IF;
    cut := coalesce(cut, since);
    LOOP
        RETURN QUERY
        SELECT e.* FROM unnest(authors, kinds) AS w (author, kind), LATERAL (
            SELECT v.* FROM event v
            WHERE v.author = w.author AND v.kind = w.kind AND v.created_at >= cut AND v.created_at <= until AND (v.created_at < until OR v.id > above)
                AND (unexpired IS NULL OR v.expires IS NULL OR v.expires > unexpired)
            ORDER BY v.created_at DESC, v.id LIMIT most
        ) e
        ORDER BY e.created_at DESC, e.id LIMIT most;
        GET DIAGNOSTICS found = ROW_COUNT;
        EXIT WHEN found = most OR cut <= since;
        most := most - found; until := cut - 1; above := ''; cut := since;
    END LOOP;
END $$;
-- +goose StatementEnd

-- These two collect all that there is of ids or of a tag before they look at its
-- time: a stretch of unknown length would look to the planner like a better way in
-- than either.
-- +goose StatementBegin
CREATE FUNCTION events_by_id(since bigint, until bigint, above bytea, most integer, ids bytea[]) RETURNS SETOF event
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    SELECT e.* FROM (SELECT v.* FROM event v WHERE v.id = ANY (ids) OFFSET 0) e
    WHERE e.created_at >= since AND e.created_at <= until AND (e.created_at < until OR e.id > above)
    ORDER BY e.created_at DESC, e.id LIMIT most;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION events_by_tag(since bigint, until bigint, above bytea, most integer, hashes bigint[], kinds bigint[], hidden bigint[], unexpired bigint) RETURNS SETOF event
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET max_parallel_workers_per_gather = 0 SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    SELECT e.* FROM (SELECT v.* FROM event v WHERE v.tagh && hashes AND (kinds IS NULL OR v.kind = ANY (kinds)) AND (hidden IS NULL OR v.kind <> ALL (hidden)) OFFSET 0) e
    WHERE e.created_at >= since AND e.created_at <= until AND (e.created_at < until OR e.id > above)
        AND (unexpired IS NULL OR e.expires IS NULL OR e.expires > unexpired)
    ORDER BY e.created_at DESC, e.id LIMIT most;
END $$;
-- +goose StatementEnd
