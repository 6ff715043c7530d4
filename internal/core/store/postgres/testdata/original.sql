-- How the original BigBrotr keeps events and sightings in its full deployment
-- (release 6.6.9), told in our own words from its published schema: the same
-- tables, columns, keys, indexes, partitions and settings, and what its functions
-- do, statement by statement. What nothing here reads or writes is left out:
-- checks, the state of services and materialized views.
--
-- Its databases are made with the locale C, ours of a test are not; so every
-- text by which something is sorted has that collation here.

CREATE TABLE relay (
    url           text COLLATE "C" PRIMARY KEY,
    network       text NOT NULL,
    discovered_at bigint NOT NULL
);

CREATE TABLE event (
    id         bytea PRIMARY KEY,
    pubkey     bytea NOT NULL,
    created_at bigint NOT NULL,
    kind       integer NOT NULL,
    tags       jsonb COMPRESSION lz4 NOT NULL,
    tagvalues  text[] COLLATE "C" NOT NULL,
    content    text COMPRESSION lz4 NOT NULL,
    sig        bytea NOT NULL
) PARTITION BY HASH (id);

CREATE TABLE event_relay (
    event_id  bytea NOT NULL REFERENCES event ON DELETE CASCADE,
    relay_url text COLLATE "C" NOT NULL REFERENCES relay ON DELETE CASCADE,
    seen_at   bigint NOT NULL,
    PRIMARY KEY (event_id, relay_url)
) PARTITION BY HASH (event_id);

DO $$
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format('CREATE TABLE event_p%s PARTITION OF event FOR VALUES WITH (MODULUS 16, REMAINDER %s)', n, n);
        EXECUTE format('CREATE TABLE event_relay_p%s PARTITION OF event_relay FOR VALUES WITH (MODULUS 16, REMAINDER %s) WITH ('
            'autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.01)', n, n);
    END LOOP;
END $$;

CREATE INDEX ON event (created_at DESC, id DESC);
CREATE INDEX ON event (kind, created_at DESC);
CREATE INDEX ON event (pubkey, created_at DESC);
CREATE INDEX ON event (pubkey, kind, created_at DESC);
CREATE INDEX ON event USING gin (tagvalues);
CREATE INDEX ON event_relay (seen_at DESC);
CREATE INDEX ON event_relay (relay_url, seen_at, event_id);

-- "name:value" of each tag with a name of one character.
CREATE FUNCTION tags_to_tagvalues(jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT coalesce(array_agg((tag ->> 0) || ':' || (tag ->> 1)), '{}'::text[])
    FROM (SELECT jsonb_array_elements($1) AS tag) AS tags
    WHERE length(tag ->> 0) = 1
$$;

CREATE FUNCTION relay_insert(urls text[], networks text[], times bigint[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    written integer;
BEGIN
    INSERT INTO relay (url, network, discovered_at)
    SELECT r.* FROM unnest(urls, networks, times) AS r
    ON CONFLICT (url) DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

CREATE FUNCTION event_insert(ids bytea[], pubkeys bytea[], times bigint[], kinds integer[], tagss jsonb[], contents text[], sigs bytea[])
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    written integer;
BEGIN
    INSERT INTO event (id, pubkey, created_at, kind, tags, tagvalues, content, sig)
    SELECT e.id, e.pubkey, e.created_at, e.kind, e.tags, tags_to_tagvalues(e.tags), e.content, e.sig
    FROM unnest(ids, pubkeys, times, kinds, tagss, contents, sigs) AS e (id, pubkey, created_at, kind, tags, content, sig)
    ON CONFLICT (id) DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;

-- Everything that came is offered, what is known too, and each event with its
-- relay. Returns how many sightings are new.
CREATE FUNCTION event_relay_insert_cascade(
    ids bytea[], pubkeys bytea[], times bigint[], kinds integer[], tagss jsonb[], contents text[], sigs bytea[],
    urls text[], networks text[], discovered bigint[], seen bigint[]
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    written integer;
BEGIN
    PERFORM relay_insert(urls, networks, discovered);
    PERFORM event_insert(ids, pubkeys, times, kinds, tagss, contents, sigs);
    INSERT INTO event_relay (event_id, relay_url, seen_at)
    SELECT DISTINCT ON (s.event_id, s.relay_url) s.event_id, s.relay_url, s.seen_at
    FROM unnest(ids, urls, seen) AS s (event_id, relay_url, seen_at)
    ON CONFLICT (event_id, relay_url) DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END $$;
