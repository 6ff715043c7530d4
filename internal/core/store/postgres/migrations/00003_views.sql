-- +goose Up

-- Views for people at psql and their programs. Each reads the tables as they
-- are: there is nothing to refresh. What relays and authors wrote never makes one
-- fail: what cannot be read is null.

-- The time of a number of seconds, null beyond what a timestamp holds.
-- +goose StatementBegin
CREATE FUNCTION unix_time(seconds bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN seconds BETWEEN -200000000000 AND 9000000000000 THEN to_timestamp(seconds) END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION unix_time IS 'The time of a number of seconds since 1970; null where that is no time that PostgreSQL knows.';

-- +goose StatementBegin
CREATE FUNCTION author_key(pubkey text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ('x' || substring(pubkey FROM 1 FOR 16))::bit(64)::bigint
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION author_key IS 'The column author of a public key in hex: the first eight bytes. WHERE author = author_key(''…'') is fast.';

-- A document as JSON, null when it is none that jsonb holds. A NUL, which jsonb
-- does not know, is taken for U+FFFD.
-- +goose StatementBegin
CREATE FUNCTION document_json(data bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN regexp_replace(convert_from(data, 'UTF8'), '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION document_json IS 'The column data of document as jsonb; null when it is not JSON.';

-- The numbers of a list like supported_nips, each once. Relays write what they
-- like into it.
-- +goose StatementBegin
CREATE FUNCTION nip_numbers(list jsonb) RETURNS SETOF integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT DISTINCT v::integer
    FROM (SELECT e #>> '{}' AS v FROM jsonb_array_elements(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]' END) e) t
    WHERE v ~ '^[0-9]{1,4}$'
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION nip_numbers IS 'The whole numbers up to four digits in a JSON array, each once; none of anything else.';

-- The value of the first d tag, empty when there is none, as NIP-01 wants it.
-- +goose StatementBegin
CREATE FUNCTION d_tag(tags jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce((
        SELECT t.tag ->> 1 FROM jsonb_array_elements(tags) WITH ORDINALITY AS t (tag, nr)
        WHERE t.tag ->> 0 = 'd' AND jsonb_array_length(t.tag) > 1 ORDER BY t.nr LIMIT 1
    ), '')
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION d_tag IS 'The value of the first d tag; empty when there is none.';

CREATE VIEW event_view AS
SELECT e.seq, encode(e.id, 'hex') AS id, encode(e.pubkey, 'hex') AS pubkey, e.created_at, unix_time(e.created_at) AS created_time,
    e.kind, e.tags, e.content, encode(e.sig, 'hex') AS sig, unix_time(e.first_seen) AS first_seen, unix_time(e.expires) AS expires,
    e.sig IS NOT NULL AS whole, e.id AS id_bytes, e.author, e.tagh
FROM event e;
COMMENT ON VIEW event_view IS 'The archived events. Narrow created_at first: it decides which partitions are read.';
COMMENT ON COLUMN event_view.seq IS 'The archive''s own number of the event.';
COMMENT ON COLUMN event_view.id IS 'The id in hex. To look for one, ask for id_bytes = ''\x…'', which has an index.';
COMMENT ON COLUMN event_view.pubkey IS 'The author''s public key in hex. To look for one, ask for author = author_key(''…''), which has an index.';
COMMENT ON COLUMN event_view.created_at IS 'Seconds since 1970, as the author claims.';
COMMENT ON COLUMN event_view.created_time IS 'The same as a time; null for dates that no timestamp holds.';
COMMENT ON COLUMN event_view.kind IS 'The kind.';
COMMENT ON COLUMN event_view.tags IS 'The tags, with U+FFFD for what is no text; null where only an index is kept.';
COMMENT ON COLUMN event_view.content IS 'The content, with U+FFFD for what is no text; null where only an index is kept.';
COMMENT ON COLUMN event_view.sig IS 'The signature in hex; null where only an index is kept.';
COMMENT ON COLUMN event_view.first_seen IS 'When the archive got it.';
COMMENT ON COLUMN event_view.expires IS 'When it expires (NIP-40).';
COMMENT ON COLUMN event_view.whole IS 'Whether tags, content and signature are kept.';
COMMENT ON COLUMN event_view.id_bytes IS 'The id as bytes.';
COMMENT ON COLUMN event_view.author IS 'The first eight bytes of the public key, see author_key.';
COMMENT ON COLUMN event_view.tagh IS 'The hashes of the tags of one letter. tagh && ARRAY[tag_hash(''t'', ''nostr'')] finds those with a tag.';

CREATE VIEW sighting_view AS
SELECT s.event_seq AS seq, encode(e.id, 'hex') AS id, e.kind, s.created_at, r.url, unix_time(s.seen_at) AS seen_at, s.relay_id
FROM sighting s
JOIN relay r ON r.id = s.relay_id
JOIN event e ON e.created_at = s.created_at AND e.seq = s.event_seq;
COMMENT ON VIEW sighting_view IS 'Which relay delivered which event. Narrow seq or url, and created_at if you can.';
COMMENT ON COLUMN sighting_view.seq IS 'The archive''s number of the event.';
COMMENT ON COLUMN sighting_view.id IS 'The event''s id in hex.';
COMMENT ON COLUMN sighting_view.kind IS 'The event''s kind.';
COMMENT ON COLUMN sighting_view.created_at IS 'The event''s time, seconds since 1970.';
COMMENT ON COLUMN sighting_view.url IS 'The relay.';
COMMENT ON COLUMN sighting_view.seen_at IS 'When it delivered the event first.';
COMMENT ON COLUMN sighting_view.relay_id IS 'The archive''s number of the relay.';

-- The newest of each probe of each relay, found by steps through the index: the
-- table holds years of them.
CREATE VIEW check_latest AS
SELECT r.id AS relay_id, r.url, c.probe, unix_time(c.at) AS at, c.ok, c.cause, c.numbers, c.detail, document_json(d.data) AS document
FROM relay r
CROSS JOIN LATERAL (
    WITH RECURSIVE step AS (
        (SELECT c.probe, c.at FROM check_result c WHERE c.relay_id = r.id ORDER BY c.probe DESC, c.at DESC LIMIT 1)
      UNION ALL
        SELECT n.probe, n.at FROM step s CROSS JOIN LATERAL (
            SELECT c.probe, c.at FROM check_result c WHERE c.relay_id = r.id AND c.probe < s.probe ORDER BY c.probe DESC, c.at DESC LIMIT 1
        ) n
    )
    SELECT probe, at FROM step
) newest
JOIN check_result c ON c.relay_id = r.id AND c.probe = newest.probe AND c.at = newest.at
LEFT JOIN document d ON d.id = c.document_id;
COMMENT ON VIEW check_latest IS 'The newest result of every probe of every relay.';
COMMENT ON COLUMN check_latest.relay_id IS 'The archive''s number of the relay.';
COMMENT ON COLUMN check_latest.url IS 'The relay.';
COMMENT ON COLUMN check_latest.probe IS 'What was looked at: open, read, nip11 and so on.';
COMMENT ON COLUMN check_latest.at IS 'When.';
COMMENT ON COLUMN check_latest.ok IS 'Whether it went well.';
COMMENT ON COLUMN check_latest.cause IS 'Why not; empty when it did.';
COMMENT ON COLUMN check_latest.numbers IS 'What was measured, by name; durations in milliseconds.';
COMMENT ON COLUMN check_latest.detail IS 'A remark; the relay may have written it.';
COMMENT ON COLUMN check_latest.document IS 'What the relay said; null when it is not JSON.';

-- OFFSET 0: a document is read once, not once for each column.
CREATE VIEW relay_latest AS
SELECT r.id AS relay_id, r.url, r.network, r.state, unix_time(r.state_since) AS state_since, r.cause,
    unix_time(r.first_seen) AS first_seen, unix_time(r.promoted_at) AS promoted_at,
    unix_time(nullif(r.last_up, 0)) AS last_up, unix_time(nullif(r.checked_at, 0)) AS checked_at,
    nullif(r.open_ms, 0) AS open_ms, nullif(r.read_ms, 0) AS read_ms, a.url AS alias_of,
    coalesce(s.n, 0) AS events,
    n.at AS nip11_at, n.document ->> 'name' AS name, n.document ->> 'software' AS software, n.document ->> 'version' AS version, n.document AS nip11
FROM relay r
LEFT JOIN relay a ON a.id = r.alias_of AND r.alias_of <> 0
LEFT JOIN rollup_relay s ON s.relay_id = r.id
LEFT JOIN LATERAL (
    SELECT unix_time(c.at) AS at, document_json(d.data) AS document
    FROM check_result c JOIN document d ON d.id = c.document_id
    WHERE c.relay_id = r.id AND c.probe = 'nip11'
    ORDER BY c.at DESC LIMIT 1 OFFSET 0
) n ON true;
COMMENT ON VIEW relay_latest IS 'Every relay as it was last seen, with its newest information document (NIP-11). The results of all probes are in check_latest.';
COMMENT ON COLUMN relay_latest.relay_id IS 'The archive''s number of the relay.';
COMMENT ON COLUMN relay_latest.url IS 'Its URL in canonical form.';
COMMENT ON COLUMN relay_latest.network IS 'clearnet, tor, i2p or loki.';
COMMENT ON COLUMN relay_latest.state IS 'new, up, degraded (opens, but cannot be read), down, or dead (down for a week).';
COMMENT ON COLUMN relay_latest.state_since IS 'Since when.';
COMMENT ON COLUMN relay_latest.cause IS 'Why it is not up; empty when it is.';
COMMENT ON COLUMN relay_latest.first_seen IS 'When somebody mentioned it first.';
COMMENT ON COLUMN relay_latest.promoted_at IS 'When it first answered as a relay.';
COMMENT ON COLUMN relay_latest.last_up IS 'When it was last up; null for never.';
COMMENT ON COLUMN relay_latest.checked_at IS 'When it was last checked; null for never.';
COMMENT ON COLUMN relay_latest.open_ms IS 'How long the last successful connection took, in milliseconds.';
COMMENT ON COLUMN relay_latest.read_ms IS 'How long its answer to the last successful request took, in milliseconds.';
COMMENT ON COLUMN relay_latest.alias_of IS 'The URL that stands for it, when it is the same relay under another name.';
COMMENT ON COLUMN relay_latest.events IS 'How many events it delivered.';
COMMENT ON COLUMN relay_latest.nip11_at IS 'When its newest information document was read.';
COMMENT ON COLUMN relay_latest.name IS 'Of the document.';
COMMENT ON COLUMN relay_latest.software IS 'Of the document.';
COMMENT ON COLUMN relay_latest.version IS 'Of the document.';
COMMENT ON COLUMN relay_latest.nip11 IS 'The document; null when it is not JSON.';

CREATE VIEW network_total AS
SELECT r.network, count(*) AS relays, count(*) FILTER (WHERE r.state = 'up') AS up, count(*) FILTER (WHERE r.state = 'degraded') AS degraded,
    count(*) FILTER (WHERE r.state = 'down') AS down, count(*) FILTER (WHERE r.state = 'dead') AS dead,
    count(*) FILTER (WHERE r.state = 'new') AS new, coalesce(sum(s.n), 0)::bigint AS sightings
FROM relay r
LEFT JOIN rollup_relay s ON s.relay_id = r.id
GROUP BY r.network;
COMMENT ON VIEW network_total IS 'Relays by network.';
COMMENT ON COLUMN network_total.network IS 'clearnet, tor, i2p or loki.';
COMMENT ON COLUMN network_total.relays IS 'How many there are, aliases included.';
COMMENT ON COLUMN network_total.up IS 'How many are up.';
COMMENT ON COLUMN network_total.degraded IS 'How many open, but cannot be read.';
COMMENT ON COLUMN network_total.down IS 'How many are down.';
COMMENT ON COLUMN network_total.dead IS 'How many are down for a week.';
COMMENT ON COLUMN network_total.new IS 'How many were not checked yet.';
COMMENT ON COLUMN network_total.sightings IS 'How many events they delivered, one that several did as often.';

CREATE VIEW software_total AS
SELECT l.software, l.version, count(*) AS relays, count(*) FILTER (WHERE l.state = 'up') AS up
FROM relay_latest l
WHERE l.nip11 IS NOT NULL
GROUP BY l.software, l.version;
COMMENT ON VIEW software_total IS 'Relays by what they say they run (NIP-11). Those without a readable document are left out.';
COMMENT ON COLUMN software_total.software IS 'As the relay writes it; null when it does not say.';
COMMENT ON COLUMN software_total.version IS 'As the relay writes it; null when it does not say.';
COMMENT ON COLUMN software_total.relays IS 'How many relays.';
COMMENT ON COLUMN software_total.up IS 'How many of them are up.';

CREATE VIEW nip_total AS
SELECT nip, count(*) AS relays, count(*) FILTER (WHERE l.state = 'up') AS up
FROM relay_latest l
CROSS JOIN LATERAL nip_numbers(l.nip11 -> 'supported_nips') AS nip
GROUP BY nip;
COMMENT ON VIEW nip_total IS 'Relays by the NIPs they say they support (NIP-11). What is no number is left out.';
COMMENT ON COLUMN nip_total.nip IS 'The number of the NIP.';
COMMENT ON COLUMN nip_total.relays IS 'How many relays.';
COMMENT ON COLUMN nip_total.up IS 'How many of them are up.';

CREATE VIEW kind_total AS
SELECT k.kind, k.n AS events, round(100.0 * k.n / nullif(sum(k.n) OVER (), 0), 3) AS percent
FROM rollup_kind k;
COMMENT ON VIEW kind_total IS 'Events by kind, as far as the refresher has counted: seconds ago.';
COMMENT ON COLUMN kind_total.kind IS 'The kind.';
COMMENT ON COLUMN kind_total.events IS 'How many events.';
COMMENT ON COLUMN kind_total.percent IS 'Their share of all.';

CREATE VIEW daily AS
SELECT CASE WHEN d.day BETWEEN -2000000 AND 100000000 THEN date '1970-01-01' + d.day::integer END AS date, d.n AS events, d.day
FROM rollup_day d;
COMMENT ON VIEW daily IS 'Events by the UTC day of their created_at, as far as the refresher has counted: seconds ago.';
COMMENT ON COLUMN daily.date IS 'The day; null for one that no date holds.';
COMMENT ON COLUMN daily.events IS 'How many events.';
COMMENT ON COLUMN daily.day IS 'Days since 1970-01-01.';

CREATE VIEW daily_kind AS
SELECT CASE WHEN d.day BETWEEN -2000000 AND 100000000 THEN date '1970-01-01' + d.day::integer END AS date, d.kind, d.n AS events, d.day
FROM rollup_day_kind d;
COMMENT ON VIEW daily_kind IS 'Events by day and kind, as far as the refresher has counted: seconds ago.';
COMMENT ON COLUMN daily_kind.date IS 'The UTC day of their created_at; null for one that no date holds.';
COMMENT ON COLUMN daily_kind.kind IS 'The kind.';
COMMENT ON COLUMN daily_kind.events IS 'How many events.';
COMMENT ON COLUMN daily_kind.day IS 'Days since 1970-01-01.';

-- The condition on created_at alone lets the newer versions be looked for in
-- newer partitions only.
CREATE VIEW replaceable_latest AS
SELECT encode(e.pubkey, 'hex') AS pubkey, e.kind, encode(e.id, 'hex') AS id, e.created_at, unix_time(e.created_at) AS created_time,
    e.tags, e.content, encode(e.sig, 'hex') AS sig, e.seq, e.author
FROM event e
WHERE (e.kind IN (0, 3) OR e.kind BETWEEN 10000 AND 19999) AND NOT EXISTS (
    SELECT 1 FROM event n
    WHERE n.author = e.author AND n.kind = e.kind AND n.created_at >= e.created_at
      AND (n.created_at > e.created_at OR n.id < e.id) AND n.pubkey = e.pubkey
);
COMMENT ON VIEW replaceable_latest IS 'The current version of every replaceable event (NIP-01): the newest, of the same second that with the lowest id. What its author asked to delete is among them. Narrow kind or author.';
COMMENT ON COLUMN replaceable_latest.pubkey IS 'The author''s public key in hex. To look for one, ask for author = author_key(''…'').';
COMMENT ON COLUMN replaceable_latest.kind IS '0, 3 or 10000 to 19999.';
COMMENT ON COLUMN replaceable_latest.id IS 'The id in hex.';
COMMENT ON COLUMN replaceable_latest.created_at IS 'Seconds since 1970, as the author claims.';
COMMENT ON COLUMN replaceable_latest.created_time IS 'The same as a time; null for dates that no timestamp holds.';
COMMENT ON COLUMN replaceable_latest.tags IS 'The tags; null where only an index is kept.';
COMMENT ON COLUMN replaceable_latest.content IS 'The content; null where only an index is kept.';
COMMENT ON COLUMN replaceable_latest.sig IS 'The signature in hex; null where only an index is kept.';
COMMENT ON COLUMN replaceable_latest.seq IS 'The archive''s own number of the event.';
COMMENT ON COLUMN replaceable_latest.author IS 'The first eight bytes of the public key, see author_key.';

CREATE VIEW addressable_latest AS
SELECT encode(e.pubkey, 'hex') AS pubkey, e.kind, d_tag(e.tags) AS d, encode(e.id, 'hex') AS id, e.created_at,
    unix_time(e.created_at) AS created_time, e.tags, e.content, encode(e.sig, 'hex') AS sig, e.seq, e.author, e.d AS d_hash
FROM event e
WHERE e.kind BETWEEN 30000 AND 39999 AND NOT EXISTS (
    SELECT 1 FROM event n
    WHERE n.author = e.author AND n.kind = e.kind AND n.created_at >= e.created_at
      AND (n.created_at > e.created_at OR n.id < e.id) AND n.d = e.d AND n.pubkey = e.pubkey
);
COMMENT ON VIEW addressable_latest IS 'The current version of every addressable event (NIP-01): the newest, of the same second that with the lowest id. What its author asked to delete is among them. Narrow kind or author.';
COMMENT ON COLUMN addressable_latest.pubkey IS 'The author''s public key in hex. To look for one, ask for author = author_key(''…'').';
COMMENT ON COLUMN addressable_latest.kind IS '30000 to 39999.';
COMMENT ON COLUMN addressable_latest.d IS 'The value of the d tag; null where only an index is kept.';
COMMENT ON COLUMN addressable_latest.id IS 'The id in hex.';
COMMENT ON COLUMN addressable_latest.created_at IS 'Seconds since 1970, as the author claims.';
COMMENT ON COLUMN addressable_latest.created_time IS 'The same as a time; null for dates that no timestamp holds.';
COMMENT ON COLUMN addressable_latest.tags IS 'The tags; null where only an index is kept.';
COMMENT ON COLUMN addressable_latest.content IS 'The content; null where only an index is kept.';
COMMENT ON COLUMN addressable_latest.sig IS 'The signature in hex; null where only an index is kept.';
COMMENT ON COLUMN addressable_latest.seq IS 'The archive''s own number of the event.';
COMMENT ON COLUMN addressable_latest.author IS 'The first eight bytes of the public key, see author_key.';
COMMENT ON COLUMN addressable_latest.d_hash IS 'The d tag''s hash: tag_hash(''d'', value).';

CREATE VIEW coverage_view AS
SELECT r.url, f.json AS filter, c.lo, c.hi, unix_time(c.lo) AS "from", unix_time(c.hi) AS "to", c.level,
    CASE c.level WHEN 0 THEN 'unknown' WHEN 1 THEN 'walked' WHEN 2 THEN 'asserted' WHEN 3 THEN 'counted' WHEN 4 THEN 'fingerprint' END AS proof,
    unix_time(c.as_of) AS as_of, c.method, c.n AS events, c.relay_id, c.filter_id
FROM coverage c
JOIN relay r ON r.id = c.relay_id
JOIN filter f ON f.id = c.filter_id;
COMMENT ON VIEW coverage_view IS 'What is proved to be held: of each relay and filter the stretches of created_at of which every event that the relay showed is archived or listed in hole_view.';
COMMENT ON COLUMN coverage_view.url IS 'The relay.';
COMMENT ON COLUMN coverage_view.filter IS 'The filter as JSON.';
COMMENT ON COLUMN coverage_view.lo IS 'The first second.';
COMMENT ON COLUMN coverage_view.hi IS 'The last second, inclusive.';
COMMENT ON COLUMN coverage_view."from" IS 'lo as a time; null beyond what a timestamp holds.';
COMMENT ON COLUMN coverage_view."to" IS 'hi as a time; null beyond what a timestamp holds.';
COMMENT ON COLUMN coverage_view.level IS 'How well it is proved, 0 to 4.';
COMMENT ON COLUMN coverage_view.proof IS 'The level in a word: walked (every page ended well), asserted (the relay said that was all), counted (its COUNT agreed), fingerprint (negentropy found no difference).';
COMMENT ON COLUMN coverage_view.as_of IS 'What the relay held then is meant.';
COMMENT ON COLUMN coverage_view.method IS 'How it was proved.';
COMMENT ON COLUMN coverage_view.events IS 'How many events the proof saw.';
COMMENT ON COLUMN coverage_view.relay_id IS 'The archive''s number of the relay.';
COMMENT ON COLUMN coverage_view.filter_id IS 'The archive''s number of the filter.';

CREATE VIEW hole_view AS
SELECT r.url, f.json AS filter, h.lo, h.hi, unix_time(h.lo) AS "from", unix_time(h.hi) AS "to", nullif(h.kind, -1) AS kind, h.reason,
    nullif(h.n, -1) AS events, unix_time(h.seen_at) AS seen_at, unix_time(h.next_try) AS next_try, h.relay_id, h.filter_id
FROM hole h
JOIN relay r ON r.id = h.relay_id
JOIN filter f ON f.id = h.filter_id;
COMMENT ON VIEW hole_view IS 'What is known, or may be, and is not held.';
COMMENT ON COLUMN hole_view.url IS 'The relay.';
COMMENT ON COLUMN hole_view.filter IS 'The filter as JSON.';
COMMENT ON COLUMN hole_view.lo IS 'The first second.';
COMMENT ON COLUMN hole_view.hi IS 'The last second, inclusive.';
COMMENT ON COLUMN hole_view."from" IS 'lo as a time; null beyond what a timestamp holds.';
COMMENT ON COLUMN hole_view."to" IS 'hi as a time; null beyond what a timestamp holds.';
COMMENT ON COLUMN hole_view.kind IS 'The kind it is about; null for any.';
COMMENT ON COLUMN hole_view.reason IS 'Why, in a word: overflow, auth, policy, invalid, oversize or unpaged.';
COMMENT ON COLUMN hole_view.events IS 'How many are missing; null when unknown.';
COMMENT ON COLUMN hole_view.seen_at IS 'When it was found.';
COMMENT ON COLUMN hole_view.next_try IS 'When it is tried again.';
COMMENT ON COLUMN hole_view.relay_id IS 'The archive''s number of the relay.';
COMMENT ON COLUMN hole_view.filter_id IS 'The archive''s number of the filter.';

CREATE VIEW outage_view AS
SELECT r.url, unix_time(o.started) AS started, unix_time(nullif(o.ended, 0)) AS ended,
    unix_time(nullif(o.ended, 0)) - unix_time(o.started) AS duration, o.cause, o.relay_id
FROM outage o
JOIN relay r ON r.id = o.relay_id;
COMMENT ON VIEW outage_view IS 'When relays were not up.';
COMMENT ON COLUMN outage_view.url IS 'The relay.';
COMMENT ON COLUMN outage_view.started IS 'When it was first found not to be up.';
COMMENT ON COLUMN outage_view.ended IS 'When it was up again; null while it is not.';
COMMENT ON COLUMN outage_view.duration IS 'How long it took; null while it lasts.';
COMMENT ON COLUMN outage_view.cause IS 'Why.';
COMMENT ON COLUMN outage_view.relay_id IS 'The archive''s number of the relay.';
