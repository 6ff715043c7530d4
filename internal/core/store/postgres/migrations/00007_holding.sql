-- +goose Up

-- A negative seen_at says that the relay named the event (NIP-77) and has not
-- delivered it; ~seen_at is when. gone_at is when the relay had it no longer,
-- null while it has it, which takes no room in a row.
ALTER TABLE sighting ADD COLUMN gone_at bigint;

-- What relays have and the archive has not: hold is a store.Hold, at a time
-- within the range in which the relay named the id.
CREATE TABLE missing (
    relay_id integer NOT NULL,
    id       bytea NOT NULL,
    at       bigint NOT NULL,
    hold     smallint NOT NULL,
    since    bigint NOT NULL,
    PRIMARY KEY (relay_id, id)
);
CREATE INDEX missing_time ON missing (relay_id, at);

-- How many ids a relay has of a day, and their sum modulo 2^256: sightings that
-- are not gone, and what is missing. s0 to s7 add up the ids' little-endian
-- numbers of 32 bits, lowest first; what a lane has beyond 32 bits belongs to the
-- next one. Rows are updated often, a few at a time: room is left for it.
CREATE TABLE relay_day (
    s0       bigint NOT NULL,
    s1       bigint NOT NULL,
    s2       bigint NOT NULL,
    s3       bigint NOT NULL,
    s4       bigint NOT NULL,
    s5       bigint NOT NULL,
    s6       bigint NOT NULL,
    s7       bigint NOT NULL,
    n        bigint NOT NULL,
    relay_id integer NOT NULL,
    day      integer NOT NULL,
    PRIMARY KEY (relay_id, day)
) WITH (fillfactor = 80);

-- The relays that have sums. Their sightings are in them from the newest back to
-- at and seq, in the order of sighting_relay.
CREATE TABLE relay_summed (
    relay_id integer PRIMARY KEY,
    at       bigint NOT NULL,
    seq      bigint NOT NULL
);

-- Adds events and the sightings of them by a relay (0: none), at most 4,096 at a
-- time. Numbers follow the order given, writing the order of keys, or writers of
-- the same events would wait for one another in a circle. deletion_places and
-- deletion_hashes say what kind 5 events among them ask to forget; known events
-- were archived earlier and have been seen again.
-- first_seq is the number before the first one, refused the places of what a
-- tombstone keeps out, fresh those of new events; what else the relay has now and
-- had not before are had_created_ats, had_seqs and had_ids.
-- OFFSET 0 here, and in what follows, has the index asked for each row: the
-- planner, who sees small tables, would rather walk through all a relay has.
DROP FUNCTION ingest;
-- +goose StatementBegin
CREATE FUNCTION ingest(
    relay integer, seen bigint,
    ids bytea[], pubkeys bytea[], authors bigint[], created_ats bigint[], kinds bigint[],
    ds bigint[], expiries bigint[], taghs text[], sigs bytea[], tagss text[], contents text[], raws bytea[],
    deletion_places integer[], deletion_hashes bigint[],
    known_created_ats bigint[], known_seqs bigint[],
    OUT first_seq bigint, OUT added integer, OUT repeated integer, OUT refused integer[],
    OUT fresh integer[], OUT had_created_ats bigint[], OUT had_seqs bigint[], OUT had_ids bytea[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    fresh_created_ats bigint[];
    again_created_ats bigint[];
    again_seqs bigint[];
    again_ids bytea[];
    stands integer[];
BEGIN
    first_seq := nextval('event_block') * 4096 - 1;
    SELECT coalesce(array_agg(g.place::integer ORDER BY g.place), '{}') INTO refused
    FROM unnest(ids, pubkeys, created_ats, kinds) WITH ORDINALITY AS g (id, pubkey, created_at, kind, place)
    WHERE EXISTS (SELECT 1 FROM tombstone t WHERE t.target = g.id AND t.until >= g.created_at)
       OR g.kind <> 62 AND EXISTS (SELECT 1 FROM tombstone t WHERE t.target = g.pubkey AND t.until >= g.created_at);

    WITH new AS (
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
    SELECT coalesce(array_agg(f.place), '{}'), coalesce(array_agg(f.created_at), '{}') INTO fresh, fresh_created_ats FROM new f;
    added := cardinality(fresh);
    repeated := cardinality(ids) - added - cardinality(refused);
    IF repeated > 0 AND EXISTS (
        SELECT 1 FROM unnest(ids, created_ats) WITH ORDINALITY AS g (id, created_at, place)
        WHERE g.place <> ALL (fresh) AND g.place <> ALL (refused)
          AND NOT EXISTS (SELECT 1 FROM event e WHERE e.created_at = g.created_at AND substring(e.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND e.id = g.id)
    ) THEN
        RAISE unique_violation USING MESSAGE = 'another event of the same second has an id that begins alike';
    END IF;

    IF cardinality(deletion_places) > 0 THEN
        INSERT INTO deletion (h, author, created_at, seq)
        SELECT d.h, authors[d.place], created_ats[d.place], first_seq + d.place
        FROM unnest(deletion_places, deletion_hashes) AS d (place, h)
        WHERE d.place = ANY (fresh)
        ORDER BY 1, 2, 3, 4
        ON CONFLICT DO NOTHING;
    END IF;

    IF relay = 0 THEN
        RETURN;
    END IF;

    INSERT INTO sighting (created_at, event_seq, seen_at, relay_id)
    SELECT f.created_at, first_seq + f.place, seen, relay FROM unnest(fresh_created_ats, fresh) AS f (created_at, place)
    ORDER BY 1 DESC, 2;

    -- What was there already has most often a sighting that says so: then there
    -- is nothing to do. 0 has none, 1 is claimed, 2 is gone. Of an event that
    -- another process has purged nothing may be left.
    SELECT array_agg(a.created_at), array_agg(a.seq), array_agg(a.id), array_agg(a.stand)
    INTO again_created_ats, again_seqs, again_ids, stands FROM (
        SELECT t.created_at, t.seq, t.stand, e.id FROM (
            SELECT v.created_at, v.seq, CASE WHEN s.seen_at IS NULL THEN 0 WHEN s.gone_at IS NULL THEN 1 ELSE 2 END AS stand FROM (
                SELECT k.created_at, k.seq FROM unnest(known_created_ats, known_seqs) AS k (created_at, seq)
              UNION
                SELECT e.created_at, e.seq FROM unnest(ids, created_ats) AS g (id, created_at)
                CROSS JOIN LATERAL (
                    SELECT w.created_at, w.seq FROM event w
                    WHERE w.created_at = g.created_at AND substring(w.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND w.id = g.id OFFSET 0
                ) e
                WHERE repeated > 0 AND (e.seq <= first_seq OR e.seq > first_seq + 4096)
            ) v
            LEFT JOIN LATERAL (
                SELECT g.seen_at, g.gone_at FROM sighting g WHERE g.relay_id = relay AND g.created_at = v.created_at AND g.event_seq = v.seq OFFSET 0
            ) s ON true
            WHERE s.seen_at IS NULL OR s.seen_at < 0 OR s.gone_at IS NOT NULL
            OFFSET 0
        ) t
        CROSS JOIN LATERAL (SELECT v.id FROM event v WHERE v.created_at = t.created_at AND v.seq = t.seq OFFSET 0) e
        ORDER BY t.created_at DESC, t.seq
    ) a;
    IF again_seqs IS NULL THEN
        RETURN;
    END IF;
    WITH new AS (
        INSERT INTO sighting (created_at, event_seq, seen_at, relay_id)
        SELECT a.created_at, a.seq, seen, relay FROM unnest(again_created_ats, again_seqs, stands) AS a (created_at, seq, stand)
        WHERE a.stand = 0 ORDER BY a.created_at DESC, a.seq
        ON CONFLICT DO NOTHING
        RETURNING created_at, event_seq
    )
    SELECT array_agg(n.created_at), array_agg(n.event_seq) INTO had_created_ats, had_seqs FROM new n;
    IF had_seqs IS NOT NULL THEN
        INSERT INTO sighting_log (relay_id, created_ats, seqs) VALUES (relay, had_created_ats, had_seqs);
    END IF;
    -- Another process may have been quicker.
    SELECT array_agg(a.created_at), array_agg(a.seq), array_agg(a.id) INTO had_created_ats, had_seqs, had_ids
    FROM unnest(again_created_ats, again_seqs, again_ids, stands) AS a (created_at, seq, id, stand)
    WHERE a.stand = 0 AND (cardinality(had_seqs) = (SELECT count(*) FROM unnest(stands) AS u (stand) WHERE u.stand = 0) OR a.seq = ANY (had_seqs));
    FOR i IN 1 .. cardinality(again_seqs) LOOP
        IF stands[i] = 1 THEN
            UPDATE sighting s SET seen_at = seen
            WHERE s.relay_id = relay AND s.created_at = again_created_ats[i] AND s.event_seq = again_seqs[i] AND s.seen_at < 0;
        ELSIF stands[i] = 2 THEN
            UPDATE sighting s SET gone_at = NULL, seen_at = CASE WHEN s.seen_at < 0 THEN seen ELSE s.seen_at END
            WHERE s.relay_id = relay AND s.created_at = again_created_ats[i] AND s.event_seq = again_seqs[i] AND s.gone_at IS NOT NULL;
            IF FOUND THEN
                had_created_ats := had_created_ats || again_created_ats[i];
                had_seqs := had_seqs || again_seqs[i];
                had_ids := had_ids || again_ids[i];
            END IF;
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Makes sightings of events that a relay named, which has a lock on what it has.
-- Returns those that it had not before, by their place.
-- +goose StatementBegin
CREATE FUNCTION claim_events(relay integer, seen bigint, ids bytea[], created_ats bigint[]) RETURNS TABLE (place integer, seq bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    places integer[];
    new_created_ats bigint[];
    new_seqs bigint[];
    gone boolean[];
BEGIN
    SELECT array_agg(c.place), array_agg(c.created_at), array_agg(c.seq), array_agg(c.gone) INTO places, new_created_ats, new_seqs, gone FROM (
        SELECT g.place::integer, e.created_at, e.seq, s.gone_at IS NOT NULL AS gone
        FROM unnest(ids, created_ats) WITH ORDINALITY AS g (id, created_at, place)
        CROSS JOIN LATERAL (
            SELECT v.created_at, v.seq FROM event v
            WHERE v.created_at = g.created_at AND substring(v.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND v.id = g.id OFFSET 0
        ) e
        LEFT JOIN LATERAL (
            SELECT t.seen_at, t.gone_at FROM sighting t WHERE t.relay_id = relay AND t.created_at = e.created_at AND t.event_seq = e.seq OFFSET 0
        ) s ON true
        WHERE s.seen_at IS NULL OR s.gone_at IS NOT NULL
        ORDER BY e.created_at DESC, e.seq
    ) c;
    IF places IS NULL THEN
        RETURN;
    END IF;
    WITH new AS (
        INSERT INTO sighting (created_at, event_seq, seen_at, relay_id)
        SELECT c.created_at, c.seq, ~seen, relay FROM unnest(new_created_ats, new_seqs, gone) AS c (created_at, seq, gone)
        WHERE NOT c.gone ORDER BY c.created_at DESC, c.seq
        RETURNING created_at, event_seq
    )
    INSERT INTO sighting_log (relay_id, created_ats, seqs)
    SELECT relay, array_agg(n.created_at), array_agg(n.event_seq) FROM new n HAVING count(*) > 0;
    FOR i IN 1 .. cardinality(places) LOOP
        IF gone[i] THEN
            UPDATE sighting s SET gone_at = NULL WHERE s.relay_id = relay AND s.created_at = new_created_ats[i] AND s.event_seq = new_seqs[i];
        END IF;
    END LOOP;
    RETURN QUERY SELECT * FROM unnest(places, new_seqs);
END $$;
-- +goose StatementEnd

-- Notes that a relay has events no longer. Returns those that it had, by their
-- place.
-- +goose StatementBegin
CREATE FUNCTION lose_events(relay integer, gone bigint, ids bytea[], created_ats bigint[]) RETURNS TABLE (place integer, seq bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    FOR place, seq IN
        SELECT g.place::integer, e.seq FROM unnest(ids, created_ats) WITH ORDINALITY AS g (id, created_at, place)
        CROSS JOIN LATERAL (
            SELECT v.created_at, v.seq FROM event v
            WHERE v.created_at = g.created_at AND substring(v.id FROM 1 FOR 15) = substring(g.id FROM 1 FOR 15) AND v.id = g.id OFFSET 0
        ) e
        ORDER BY e.created_at DESC, e.seq
    LOOP
        UPDATE sighting s SET gone_at = gone
        WHERE s.relay_id = relay AND s.created_at = created_ats[place] AND s.event_seq = seq AND s.gone_at IS NULL;
        IF FOUND THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Notes that a relay has ids of which the archive has nothing, unless it has a
-- sighting of them between los and his. Returns the place of each that it noted,
-- and where it was noted before.
-- +goose StatementBegin
CREATE FUNCTION miss_events(relay integer, holds smallint, seen bigint, ids bytea[], ats bigint[], los bigint[], his bigint[])
RETURNS TABLE (place integer, was bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    FOR i IN 1 .. cardinality(ids) LOOP
        CONTINUE WHEN EXISTS (
            SELECT 1 FROM event e CROSS JOIN LATERAL (
                SELECT 1 FROM sighting t WHERE t.relay_id = relay AND t.created_at = e.created_at AND t.event_seq = e.seq AND t.gone_at IS NULL OFFSET 0
            ) s
            WHERE e.id = ids[i] AND e.created_at >= los[i] AND e.created_at <= his[i]
        );
        place := i;
        SELECT m.at INTO was FROM missing m WHERE m.relay_id = relay AND m.id = ids[i];
        INSERT INTO missing AS m (relay_id, id, at, hold, since) VALUES (relay, ids[i], ats[i], holds, seen)
        ON CONFLICT (relay_id, id) DO UPDATE
        SET at = excluded.at, since = CASE WHEN m.hold = excluded.hold THEN m.since ELSE excluded.since END, hold = excluded.hold;
        RETURN NEXT;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Reads sightings of a relay not before a time, from the newest back, behind a
-- place in their order.
-- +goose StatementBegin
CREATE FUNCTION held_events(relay integer, since bigint, until bigint, above bigint, most integer)
RETURNS TABLE (created_at bigint, seq bigint, gone boolean, id bytea)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
        WITH slice AS MATERIALIZED (
            SELECT s.created_at, s.event_seq, s.gone_at IS NOT NULL AS gone FROM sighting s
            WHERE s.relay_id = relay AND s.created_at >= since AND s.created_at <= until AND (s.created_at < until OR s.event_seq > above)
            ORDER BY s.created_at DESC, s.event_seq LIMIT most
        )
        SELECT s.created_at, s.event_seq, s.gone, e.id FROM slice s
        LEFT JOIN LATERAL (SELECT v.id FROM event v WHERE v.created_at = s.created_at AND v.seq = s.event_seq OFFSET 0) e ON true
        ORDER BY s.created_at DESC, s.event_seq;
END $$;
-- +goose StatementEnd

-- Looks ids up in the archive, within bounds, and at a relay, in the order given.
-- +goose StatementBegin
CREATE FUNCTION holdings(relay integer, ids bytea[], since bigint, until bigint)
RETURNS TABLE (seq bigint, created_at bigint, seen_at bigint, gone boolean, hold smallint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
        SELECT e.seq, e.created_at, s.seen_at, s.gone_at IS NOT NULL, m.hold
        FROM unnest(ids) WITH ORDINALITY AS g (id, place)
        LEFT JOIN LATERAL (
            SELECT v.seq, v.created_at FROM event v WHERE v.id = g.id AND v.created_at >= since AND v.created_at <= until LIMIT 1
        ) e ON true
        LEFT JOIN LATERAL (
            SELECT t.seen_at, t.gone_at FROM sighting t WHERE t.relay_id = relay AND t.created_at = e.created_at AND t.event_seq = e.seq OFFSET 0
        ) s ON true
        LEFT JOIN LATERAL (SELECT n.hold FROM missing n WHERE n.relay_id = relay AND n.id = g.id OFFSET 0) m ON true
        ORDER BY g.place;
END $$;
-- +goose StatementEnd

-- Deletes at most most events of an author up to a time, with everything that
-- belongs to them. Returns what of them the sums hold: each event, with whether
-- it is counted, as a row without relay, and the sightings that are. vanishing
-- must be locked, so that nothing new of the author can come, and rollup_total,
-- so that nothing is counted meanwhile.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION purge_events(who bytea, whose bigint, up_to bigint, most integer)
RETURNS TABLE (relay_id integer, created_at bigint, kind bigint, counted boolean)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
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
    -- A relay that has sums keeps what is deleted here as refused, which changes
    -- nothing in them; where it would, they are made anew.
    WITH had AS (
        SELECT s.relay_id, e.id, r.at FROM unnest(created_ats, seqs) AS u (created_at, seq)
        CROSS JOIN LATERAL (SELECT g.relay_id FROM sighting g WHERE g.created_at = u.created_at AND g.event_seq = u.seq AND g.gone_at IS NULL OFFSET 0) s
        JOIN relay_summed r ON r.relay_id = s.relay_id
        CROSS JOIN LATERAL (SELECT v.id FROM event v WHERE v.created_at = u.created_at AND v.seq = u.seq OFFSET 0) e
    )
    DELETE FROM relay_summed r USING had h
    WHERE r.relay_id = h.relay_id AND (h.at <> '-9223372036854775808'::bigint OR EXISTS (SELECT 1 FROM missing m WHERE m.relay_id = h.relay_id AND m.id = h.id));
    IF FOUND THEN
        DELETE FROM relay_day d WHERE NOT EXISTS (SELECT 1 FROM relay_summed r WHERE r.relay_id = d.relay_id);
    END IF;
    INSERT INTO missing (relay_id, id, at, hold, since)
    SELECT s.relay_id, e.id, u.created_at, 4, extract(epoch FROM now())::bigint FROM unnest(created_ats, seqs) AS u (created_at, seq)
    CROSS JOIN LATERAL (SELECT g.relay_id FROM sighting g WHERE g.created_at = u.created_at AND g.event_seq = u.seq AND g.gone_at IS NULL OFFSET 0) s
    JOIN relay_summed r ON r.relay_id = s.relay_id
    CROSS JOIN LATERAL (SELECT v.id FROM event v WHERE v.created_at = u.created_at AND v.seq = u.seq OFFSET 0) e
    ON CONFLICT DO NOTHING;
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
DROP FUNCTION sightings_of;
-- +goose StatementBegin
CREATE FUNCTION sightings_of(created_ats bigint[], seqs bigint[]) RETURNS TABLE (event_seq bigint, relay_id integer, seen_at bigint, gone_at bigint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
        SELECT s.event_seq, s.relay_id, s.seen_at, coalesce(s.gone_at, 0) FROM unnest(created_ats, seqs) AS u (created_at, seq)
        JOIN sighting s ON s.created_at = u.created_at AND s.event_seq = u.seq;
END $$;
-- +goose StatementEnd

-- Adds events of another archive, at most 4,096, each with the time it was first
-- seen and its sightings. Otherwise like ingest.
DROP FUNCTION put_copies;
-- +goose StatementBegin
CREATE FUNCTION put_copies(
    ids bytea[], pubkeys bytea[], authors bigint[], created_ats bigint[], kinds bigint[],
    ds bigint[], expiries bigint[], taghs text[], sigs bytea[], tagss text[], contents text[], raws bytea[], first_seens bigint[],
    deletion_places integer[], deletion_hashes bigint[],
    sighting_places integer[], sighting_relays integer[], sighting_seens bigint[], sighting_gones bigint[],
    OUT first_seq bigint, OUT added integer
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
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
        INSERT INTO sighting (created_at, event_seq, seen_at, relay_id, gone_at)
        SELECT t.created_at, t.seq, s.seen_at, s.relay_id, nullif(s.gone_at, 0)
        FROM unnest(sighting_places, sighting_relays, sighting_seens, sighting_gones) AS s (place, relay_id, seen_at, gone_at) JOIN there t ON t.place = s.place
        ORDER BY s.relay_id, t.created_at DESC, t.seq
        ON CONFLICT DO NOTHING
        RETURNING created_at, event_seq, relay_id
    )
    INSERT INTO sighting_log (relay_id, created_ats, seqs)
    SELECT s.relay_id, array_agg(s.created_at), array_agg(s.event_seq) FROM seen s GROUP BY s.relay_id;
END $$;
-- +goose StatementEnd

CREATE OR REPLACE VIEW sighting_view AS
SELECT s.event_seq AS seq, encode(e.id, 'hex') AS id, e.kind, s.created_at, r.url, unix_time(greatest(s.seen_at, ~s.seen_at)) AS seen_at, s.relay_id,
    s.seen_at < 0 AS claimed, unix_time(s.gone_at) AS gone_at
FROM sighting s
JOIN relay r ON r.id = s.relay_id
JOIN event e ON e.created_at = s.created_at AND e.seq = s.event_seq;
COMMENT ON VIEW sighting_view IS 'Which relay delivered or named which event. Narrow seq or url, and created_at if you can.';
COMMENT ON COLUMN sighting_view.seen_at IS 'When it delivered the event first, or named it.';
COMMENT ON COLUMN sighting_view.claimed IS 'Whether it named the event (NIP-77) and has not delivered it.';
COMMENT ON COLUMN sighting_view.gone_at IS 'When it was found not to have the event any longer; null while it has.';

CREATE VIEW missing_view AS
SELECT r.url, encode(m.id, 'hex') AS id, unix_time(m.at) AS at, CASE m.hold WHEN 3 THEN 'withheld' ELSE 'refused' END AS hold,
    unix_time(m.since) AS since, m.relay_id
FROM missing m
JOIN relay r ON r.id = m.relay_id;
COMMENT ON VIEW missing_view IS 'What relays have and the archive has not.';
COMMENT ON COLUMN missing_view.url IS 'The relay.';
COMMENT ON COLUMN missing_view.id IS 'The event''s id in hex.';
COMMENT ON COLUMN missing_view.at IS 'A time near that of the event.';
COMMENT ON COLUMN missing_view.hold IS 'withheld: the relay names the event and does not deliver it; refused: the archive does not keep it.';
COMMENT ON COLUMN missing_view.since IS 'Since when.';
COMMENT ON COLUMN missing_view.relay_id IS 'The archive''s number of the relay.';
