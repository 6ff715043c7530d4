-- +goose Up

-- The key that makes an event unique holds as much of its id as fits into 16 bytes:
-- half the index. Two events of one second whose ids begin alike take 2^60 hashes
-- of whoever makes both; the second is then refused like any other that cannot be
-- held. ingest and put_copies name the key, so they follow.
DROP INDEX event_time;
CREATE UNIQUE INDEX event_time ON event (created_at DESC, substring(id FROM 1 FOR 15));

-- A hash index splits its buckets when they are three quarters full, and then
-- half of it is air.
DROP INDEX event_id;
CREATE INDEX event_id ON event USING hash (id) WITH (fillfactor = 100);

-- Pages are cut where a kind ends instead of in the middle if all entries are of
-- one size.
DROP INDEX event_kind;
CREATE INDEX event_kind ON event (kind, created_at DESC) WITH (deduplicate_items = off);

-- Looks for events by (created_at, id), so that one partition is enough for
-- each. Returns the number of each in the order given, 0 where it is not there.
-- Here as in all functions below a generic plan is forced: one made for the
-- values at hand costs more than the work, or reads whole partitions.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION known_events(ids bytea[], created_ats bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN (
        SELECT coalesce(array_agg(coalesce((SELECT e.seq FROM event e WHERE e.created_at = g.created_at AND substring(e.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND e.id = g.id), 0) ORDER BY g.place), '{}')
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
CREATE OR REPLACE FUNCTION ingest(
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
        ON CONFLICT (created_at, substring(id FROM 1 FOR 15)) DO NOTHING
        RETURNING (seq - first_seq)::integer AS place, created_at
    )
    SELECT coalesce(array_agg(f.place), '{}'), coalesce(array_agg(f.created_at), '{}') INTO fresh_places, fresh_created_ats FROM fresh f;
    added := cardinality(fresh_places);
    repeated := cardinality(ids) - added - cardinality(refused);
    IF repeated > 0 AND EXISTS (
        SELECT 1 FROM unnest(ids, created_ats) WITH ORDINALITY AS g (id, created_at, place)
        WHERE g.place <> ALL (fresh_places) AND g.place <> ALL (refused)
          AND NOT EXISTS (SELECT 1 FROM event e WHERE e.created_at = g.created_at AND substring(e.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND e.id = g.id)
    ) THEN
        RAISE unique_violation USING MESSAGE = 'another event of the same second has an id that begins alike';
    END IF;

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
            JOIN event e ON e.created_at = g.created_at AND substring(e.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND e.id = g.id
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

-- Adds events of another archive, at most 4,096, each with the time it was first
-- seen and its sightings. Otherwise like ingest.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION put_copies(
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
        ON CONFLICT (created_at, substring(id FROM 1 FOR 15)) DO NOTHING
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
        CROSS JOIN LATERAL (SELECT v.created_at, v.seq FROM event v WHERE v.created_at = g.created_at AND substring(v.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND v.id = g.id) e
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
