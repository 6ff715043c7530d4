-- +goose Up

-- Looks for events by (created_at, id), so that one partition is enough for
-- each. Returns the number of each in the order given, 0 where it is not there.
-- Here as in all functions below a generic plan is forced: one made for the
-- values at hand costs more than the work, or reads whole partitions.
-- +goose StatementBegin
CREATE FUNCTION known_events(ids bytea[], created_ats bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN (
        SELECT coalesce(array_agg(coalesce((SELECT e.seq FROM event e WHERE e.created_at = g.created_at AND e.id = g.id), 0) ORDER BY g.place), '{}')
        FROM unnest(ids, created_ats) WITH ORDINALITY AS g (id, created_at, place)
    );
END $$;
-- +goose StatementEnd

-- Adds events and the sightings of them by a relay (0: none), at most 4,096 at a
-- time. Numbers follow the order given, writing the order of keys, or writers of
-- the same events would wait for one another in a circle. deletion_places and
-- deletion_hashes say what kind 5 events among them ask to forget; known events
-- were archived earlier and have been seen again.
-- first_seq is the number before the first one, refused the places of what a
-- tombstone keeps out.
-- +goose StatementBegin
CREATE FUNCTION ingest(
    relay integer, seen bigint,
    ids bytea[], pubkeys bytea[], authors bigint[], created_ats bigint[], kinds bigint[],
    ds bigint[], expiries bigint[], taghs text[], sigs bytea[], tagss text[], contents text[], raws bytea[],
    deletion_places integer[], deletion_hashes bigint[],
    known_created_ats bigint[], known_seqs bigint[],
    OUT first_seq bigint, OUT added integer, OUT repeated integer, OUT refused integer[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    fresh_places integer[];
    fresh_created_ats bigint[];
    again_created_ats bigint[];
    again_seqs bigint[];
BEGIN
    first_seq := nextval('event_block') * 4096 - 1;
    SELECT coalesce(array_agg(g.place::integer ORDER BY g.place), '{}') INTO refused
    FROM unnest(ids, pubkeys, created_ats, kinds) WITH ORDINALITY AS g (id, pubkey, created_at, kind, place)
    WHERE EXISTS (SELECT 1 FROM tombstone t WHERE t.target = g.id AND t.until >= g.created_at)
       OR g.kind <> 62 AND EXISTS (SELECT 1 FROM tombstone t WHERE t.target = g.pubkey AND t.until >= g.created_at);

    WITH fresh AS (
        INSERT INTO event (seq, created_at, kind, author, first_seen, d, expires, id, pubkey, tagh, sig, tags, content, raw)
        SELECT first_seq + g.place, g.created_at, g.kind, g.author, seen, g.d, g.expires, g.id, g.pubkey,
            g.tagh::bigint[], g.sig, g.tags::jsonb, g.content, g.raw
        FROM unnest(ids, pubkeys, authors, created_ats, kinds, ds, expiries, taghs, sigs, tagss, contents, raws)
            WITH ORDINALITY AS g (id, pubkey, author, created_at, kind, d, expires, tagh, sig, tags, content, raw, place)
        WHERE cardinality(refused) = 0 OR g.place <> ALL (refused)
        ORDER BY g.created_at DESC, g.id, g.place
        ON CONFLICT (created_at, id) DO NOTHING
        RETURNING (seq - first_seq)::integer AS place, created_at
    )
    SELECT coalesce(array_agg(f.place), '{}'), coalesce(array_agg(f.created_at), '{}') INTO fresh_places, fresh_created_ats FROM fresh f;
    added := cardinality(fresh_places);
    repeated := cardinality(ids) - added - cardinality(refused);

    IF cardinality(deletion_places) > 0 THEN
        INSERT INTO deletion (h, author, created_at, seq)
        SELECT d.h, authors[d.place], created_ats[d.place], first_seq + d.place
        FROM unnest(deletion_places, deletion_hashes) AS d (place, h)
        WHERE d.place = ANY (fresh_places)
        ORDER BY 1, 2, 3, 4
        ON CONFLICT DO NOTHING;
    END IF;

    IF relay = 0 THEN
        RETURN;
    END IF;

    WITH seen_again AS (
        INSERT INTO sighting (created_at, event_seq, seen_at, relay_id)
        SELECT s.created_at, s.event_seq, seen, relay FROM (
            SELECT f.created_at, first_seq + f.place AS event_seq FROM unnest(fresh_created_ats, fresh_places) AS f (created_at, place)
          UNION ALL
            -- Of an event that another process has purged nothing may be left.
            SELECT k.created_at, k.seq FROM unnest(known_created_ats, known_seqs) AS k (created_at, seq)
            WHERE EXISTS (SELECT 1 FROM event e WHERE e.created_at = k.created_at AND e.seq = k.seq)
          UNION ALL
            SELECT e.created_at, e.seq FROM unnest(ids, created_ats) AS g (id, created_at)
            JOIN event e ON e.created_at = g.created_at AND e.id = g.id
            WHERE repeated > 0 AND (e.seq <= first_seq OR e.seq > first_seq + 4096)
        ) s
        ORDER BY s.created_at DESC, s.event_seq
        ON CONFLICT DO NOTHING
        RETURNING created_at, event_seq
    )
    SELECT array_agg(a.created_at), array_agg(a.event_seq) INTO again_created_ats, again_seqs
    FROM seen_again a WHERE a.event_seq <= first_seq OR a.event_seq > first_seq + 4096;
    IF again_seqs IS NOT NULL THEN
        INSERT INTO sighting_log (relay_id, created_ats, seqs) VALUES (relay, again_created_ats, again_seqs);
    END IF;
END $$;
-- +goose StatementEnd

-- Numbers a batch in the order of commits; the last statement of a transaction.
-- +goose StatementBegin
CREATE FUNCTION close_batch(lock bigint, relay integer, first_seqs bigint[], added integer[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(lock);
    INSERT INTO batch (nr, first_seq, n, relay_id)
    SELECT nextval('batch_nr'), b.first_seq, b.n, relay FROM unnest(first_seqs, added) AS b (first_seq, n) WHERE b.n > 0;
END $$;
-- +goose StatementEnd

-- Reads events in the order of commits: those after a place, up to a batch, of a
-- time and of kinds (null: any), until there are most of them or they weigh
-- heavy bytes. A row without an event says of a batch that it has no more.
-- +goose StatementBegin
CREATE FUNCTION scan_events(after_nr bigint, after_seq bigint, last_nr bigint, since bigint, until bigint, wanted bigint[], most integer, heavy bigint)
RETURNS TABLE (nr bigint, seq bigint, id bytea, pubkey bytea, created_at bigint, kind bigint, first_seen bigint, sig bytea,
    tags text, content text, raw bytea, tagh bigint[], d bigint, expires bigint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    b record;
    weight bigint := 0;
    done bigint;
BEGIN
    FOR b IN
        SELECT batch.nr, batch.first_seq FROM batch WHERE batch.nr >= after_nr AND batch.nr <= last_nr ORDER BY batch.nr LIMIT 500
    LOOP
        nr := b.nr;
        FOR seq, id, pubkey, created_at, kind, first_seen, sig, tags, content, raw, tagh, d, expires IN
            SELECT e.seq, e.id, e.pubkey, e.created_at, e.kind, e.first_seen, e.sig, e.tags::text, e.content, e.raw,
                CASE WHEN e.sig IS NULL THEN e.tagh END, e.d, e.expires
            FROM event e
            WHERE e.seq > greatest(b.first_seq, CASE WHEN b.nr = after_nr THEN after_seq ELSE 0 END) AND e.seq <= b.first_seq + 4096
              AND e.created_at >= since AND e.created_at <= until AND (wanted IS NULL OR e.kind = ANY (wanted))
            ORDER BY e.seq
        LOOP
            RETURN NEXT;
            most := most - 1;
            weight := weight + coalesce(octet_length(tags), 0) + coalesce(octet_length(content), 0) + coalesce(octet_length(raw), 0);
            IF most <= 0 OR weight >= heavy THEN
                RETURN;
            END IF;
        END LOOP;
        done := b.nr;
    END LOOP;
    IF done IS NOT NULL THEN
        nr := done; seq := NULL;
        RETURN NEXT;
    END IF;
END $$;
-- +goose StatementEnd

-- Reads what the refresher adds up: the events of batches, and the events that
-- rows of the log of sightings name.
-- +goose StatementBegin
CREATE FUNCTION fold_events(nrs bigint[]) RETURNS TABLE (nr bigint, relay_id integer, created_at bigint, kind bigint, pubkey bytea)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    b record;
BEGIN
    FOR b IN SELECT batch.nr, batch.first_seq, batch.relay_id FROM batch WHERE batch.nr = ANY (nrs) ORDER BY batch.nr LOOP
        RETURN QUERY
            SELECT b.nr, b.relay_id, e.created_at, e.kind, e.pubkey FROM event e
            WHERE e.seq > b.first_seq AND e.seq <= b.first_seq + 4096 ORDER BY e.seq;
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION fold_sightings(ids bigint[]) RETURNS TABLE (id bigint, relay_id integer, created_at bigint, kind bigint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
        SELECT l.id, l.relay_id, e.created_at, e.kind
        FROM sighting_log l CROSS JOIN LATERAL unnest(l.created_ats, l.seqs) AS s (created_at, seq)
        JOIN event e ON e.created_at = s.created_at AND e.seq = s.seq
        WHERE l.id = ANY (ids);
END $$;
-- +goose StatementEnd

-- Deletes at most most events of an author up to a time, with everything that
-- belongs to them. Returns what of them the sums hold: each event, with whether
-- it is counted, as a row without relay, and the sightings that are. vanishing
-- must be locked, so that nothing new of the author can come, and rollup_total,
-- so that nothing is counted meanwhile.
-- +goose StatementBegin
CREATE FUNCTION purge_events(who bytea, whose bigint, up_to bigint, most integer)
RETURNS TABLE (relay_id integer, created_at bigint, kind bigint, counted boolean)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    done bigint;
    seqs bigint[];
    created_ats bigint[];
    kinds bigint[];
BEGIN
    SELECT t.nr INTO done FROM rollup_total t WHERE t.name = 'events';
    SELECT array_agg(v.seq), array_agg(v.created_at), array_agg(v.kind) INTO seqs, created_ats, kinds FROM (
        SELECT e.seq, e.created_at, e.kind FROM event e
        WHERE e.author = whose AND e.created_at <= up_to AND e.pubkey = who AND e.kind <> 62 LIMIT most
    ) v;
    IF seqs IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        -- Numbers of blocks tell the batch: its first_seq is one below a block.
        WITH slice AS MATERIALIZED (
            SELECT u.seq, u.created_at, u.kind, u.seq / 4096 * 4096 - 1 AS first_seq FROM unnest(seqs, created_ats, kinds) AS u (seq, created_at, kind)
        ), waiting AS MATERIALIZED (
            SELECT b.first_seq, b.relay_id FROM batch b WHERE b.nr > done
        ), logged AS MATERIALIZED (
            SELECT l.relay_id, n.seq FROM sighting_log l CROSS JOIN LATERAL unnest(l.seqs) AS n (seq) JOIN slice c ON c.seq = n.seq
        )
        SELECT NULL::integer, c.created_at, c.kind, NOT EXISTS (SELECT 1 FROM waiting w WHERE w.first_seq = c.first_seq) FROM slice c
      UNION ALL
        SELECT s.relay_id, c.created_at, c.kind, true
        FROM slice c CROSS JOIN LATERAL (SELECT g.relay_id FROM sighting g WHERE g.created_at = c.created_at AND g.event_seq = c.seq OFFSET 0) s
        WHERE NOT EXISTS (SELECT 1 FROM waiting w WHERE w.first_seq = c.first_seq AND w.relay_id = s.relay_id)
          AND NOT EXISTS (SELECT 1 FROM logged l WHERE l.seq = c.seq AND l.relay_id = s.relay_id);
    FOR i IN 1 .. cardinality(seqs) LOOP
        DELETE FROM sighting s WHERE s.created_at = created_ats[i] AND s.event_seq = seqs[i];
        IF kinds[i] = 5 THEN
            DELETE FROM deletion d WHERE d.author = whose AND d.created_at = created_ats[i] AND d.seq = seqs[i];
        END IF;
        DELETE FROM event e WHERE e.created_at = created_ats[i] AND e.seq = seqs[i];
    END LOOP;
END $$;
-- +goose StatementEnd

-- Reads the sightings of events.
-- +goose StatementBegin
CREATE FUNCTION sightings_of(created_ats bigint[], seqs bigint[]) RETURNS TABLE (event_seq bigint, relay_id integer, seen_at bigint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
        SELECT s.event_seq, s.relay_id, s.seen_at FROM unnest(created_ats, seqs) AS u (created_at, seq)
        JOIN sighting s ON s.created_at = u.created_at AND s.event_seq = u.seq;
END $$;
-- +goose StatementEnd

-- Adds events of another archive, at most 4,096, each with the time it was first
-- seen and its sightings. Otherwise like ingest.
-- +goose StatementBegin
CREATE FUNCTION put_copies(
    ids bytea[], pubkeys bytea[], authors bigint[], created_ats bigint[], kinds bigint[],
    ds bigint[], expiries bigint[], taghs text[], sigs bytea[], tagss text[], contents text[], raws bytea[], first_seens bigint[],
    deletion_places integer[], deletion_hashes bigint[],
    sighting_places integer[], sighting_relays integer[], sighting_seens bigint[],
    OUT first_seq bigint, OUT added integer
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    fresh_places integer[];
BEGIN
    first_seq := nextval('event_block') * 4096 - 1;
    WITH fresh AS (
        INSERT INTO event (seq, created_at, kind, author, first_seen, d, expires, id, pubkey, tagh, sig, tags, content, raw)
        SELECT first_seq + g.place, g.created_at, g.kind, g.author, g.first_seen, g.d, g.expires, g.id, g.pubkey,
            g.tagh::bigint[], g.sig, g.tags::jsonb, g.content, g.raw
        FROM unnest(ids, pubkeys, authors, created_ats, kinds, ds, expiries, taghs, sigs, tagss, contents, raws, first_seens)
            WITH ORDINALITY AS g (id, pubkey, author, created_at, kind, d, expires, tagh, sig, tags, content, raw, first_seen, place)
        ORDER BY g.created_at DESC, g.id, g.place
        ON CONFLICT (created_at, id) DO NOTHING
        RETURNING (seq - first_seq)::integer AS place
    )
    SELECT coalesce(array_agg(f.place), '{}') INTO fresh_places FROM fresh f;
    added := cardinality(fresh_places);

    INSERT INTO deletion (h, author, created_at, seq)
    SELECT d.h, authors[d.place], created_ats[d.place], first_seq + d.place
    FROM unnest(deletion_places, deletion_hashes) AS d (place, h)
    WHERE d.place = ANY (fresh_places)
    ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING;

    WITH there AS MATERIALIZED (
        SELECT g.place, e.created_at, e.seq FROM unnest(ids, created_ats) WITH ORDINALITY AS g (id, created_at, place)
        CROSS JOIN LATERAL (SELECT v.created_at, v.seq FROM event v WHERE v.created_at = g.created_at AND v.id = g.id) e
    ), seen AS (
        INSERT INTO sighting (created_at, event_seq, seen_at, relay_id)
        SELECT t.created_at, t.seq, s.seen_at, s.relay_id
        FROM unnest(sighting_places, sighting_relays, sighting_seens) AS s (place, relay_id, seen_at) JOIN there t ON t.place = s.place
        ORDER BY s.relay_id, t.created_at DESC, t.seq
        ON CONFLICT DO NOTHING
        RETURNING created_at, event_seq, relay_id
    )
    INSERT INTO sighting_log (relay_id, created_ats, seqs)
    SELECT s.relay_id, array_agg(s.created_at), array_agg(s.event_seq) FROM seen s GROUP BY s.relay_id;
END $$;
-- +goose StatementEnd
