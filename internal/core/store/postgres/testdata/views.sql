-- What the golden test of the views reads. Relays and authors may write anything.
INSERT INTO relay (url, network, first_seen, promoted_at, state, state_since, cause, last_up, alias_of, checked_at, open_ms, read_ms) VALUES
    ('wss://a.example', 'clearnet', 1700000000, 1700000100, 'up', 1700000200, '', 1700000300, 0, 1700000300, 120.5, 33),
    ('wss://b.example', 'clearnet', 1700000000, 1700000100, 'down', 1700000200, 'tls', 1700000250, 0, 1700000300, 0, 0),
    ('ws://c.onion', 'tor', 1700000000, 1700000100, 'new', 1700000100, '', 0, 0, 0, 0, 0),
    ('wss://alias.example', 'clearnet', 1700000000, 1700000100, 'dead', 9007199254740992, 'dns', 9223372036854775807, 1, 0, 0, 0),
    ('wss://broken.example', 'clearnet', 0, 0, 'degraded', 0, 'policy', 0, 0, 0, 0, 0),
    ('wss://latin.example', 'clearnet', 0, 0, 'up', 0, '', 0, 0, 0, 0, 0),
    ('wss://deep.example', 'clearnet', 0, 0, 'up', 0, '', 0, 0, 0, 0, 0),
    ('wss://number.example', 'clearnet', 0, 0, 'up', 0, '', 0, 0, 0, 0, 0),
    ('wss://types.example', 'clearnet', 0, 0, 'up', 0, '', 0, 0, 0, 0, 0),
    ('wss://list.example', 'clearnet', 0, 0, 'up', 0, '', 0, 0, 0, 0, 0),
    ('wss://nul.example', 'clearnet', 0, 0, 'up', 0, '', 0, 0, 0, 0, 0);

INSERT INTO document (id, type, data) VALUES
    ('\x01', 'nip11', '{"name":"A","software":"strfry","version":"1.0","supported_nips":[1,11,77]}'),
    ('\x02', 'nip11', '{"name":"A, older","software":"strfry","version":"0.9","supported_nips":[1]}'),
    ('\x03', 'nip11', '{"software":"strfry","version":"1.0","supported_nips":[1,1,"11",1.0,1.5,-1,"7D",null,true,[9],{"4":4},12345,99999999999999999999,1e300,""]}'),
    ('\x04', 'nip11', '{"software":'),
    ('\x05', 'nip11', '\xff7b7dfe'),
    ('\x06', 'nip11', convert_to(repeat('[', 100000), 'UTF8')),
    ('\x07', 'nip11', '{"software":1e9999999}'),
    ('\x08', 'nip11', '{"name":{"a":1},"software":["x"],"version":7,"supported_nips":{"1":1}}'),
    ('\x09', 'nip11', '[1,2]'),
    ('\x0a', 'nip11', convert_to('{"name":"n\u0000\u0000 \\u0000 \\\u0000","software":null}', 'UTF8')),
    ('\x0b', 'tls', '{"issuer":"nobody"}');
INSERT INTO check_result (relay_id, probe, at, ok, cause, numbers, detail, document_id) VALUES
    (1, 'open', 1700000100, true, '', '{"open_ms": 100}', '', NULL),
    (1, 'open', 1700000300, true, '', '{"open_ms": 120.5}', '', NULL),
    (1, 'read', 1700000300, true, '', '{"eose_ms": 33}', '', NULL),
    (1, 'nip11', 1700000100, true, '', '{}', '200', '\x02'),
    (1, 'nip11', 1700000300, true, '', '{}', '200', '\x01'),
    (1, 'nip11', 1700000400, false, 'timeout', '{}', '', NULL),
    (1, 'tls', 1700000300, true, '', '{}', '', '\x0b'),
    (2, 'nip11', 1700000300, true, '', '{}', '', '\x03'),
    (5, 'nip11', 1700000300, true, '', '{}', '', '\x04'),
    (6, 'nip11', 1700000300, true, '', '{}', '', '\x05'),
    (7, 'nip11', 1700000300, true, '', '{}', '', '\x06'),
    (8, 'nip11', 9223372036854775807, true, '', '{}', '', '\x07'),
    (9, 'nip11', 1700000300, true, '', '{}', '', '\x08'),
    (10, 'nip11', 1700000300, true, '', '{}', '', '\x09'),
    (11, 'nip11', 1700000300, true, '', '{}', '', '\x0a');
INSERT INTO outage (relay_id, started, ended, cause) VALUES (1, 1700000000, 1700000060, 'timeout'), (2, 1700000200, 0, 'tls'), (5, 9007199254740992, 9223372036854775807, 'dns');

-- The ids are short names, the authors too.
INSERT INTO event (seq, created_at, kind, author, first_seen, d, expires, id, pubkey, tagh, sig, tags, content)
SELECT seq, created_at, kind, author_key(encode(pubkey, 'hex')), 1700001000, CASE WHEN kind BETWEEN 30000 AND 39999 THEN tag_hash('d', d) END,
    expires, id, pubkey, NULL, CASE WHEN whole THEN '\x5166'::bytea END, CASE WHEN whole THEN tags::jsonb END, CASE WHEN whole THEN content END
FROM (VALUES
    (1, 1700000000, 0, '', NULL, '\x01'::bytea, 'author of eight and more a'::bytea, true, '[]', 'old profile'),
    (2, 1700000005, 0, '', NULL, '\x03'::bytea, 'author of eight and more a'::bytea, true, '[]', 'the same second, higher id'),
    (3, 1700000005, 0, '', NULL, '\x02'::bytea, 'author of eight and more a'::bytea, true, '[]', 'current profile'),
    (4, 1700000001, 0, '', NULL, '\x04'::bytea, 'author of eight and more b'::bytea, true, '[]', 'of another with the same prefix'),
    (5, 1600000000, 3, '', NULL, '\x05'::bytea, 'author of eight and more a'::bytea, true, '[["p","x"]]', ''),
    (6, 1790000000, 10002, '', NULL, '\x06'::bytea, 'author of eight and more a'::bytea, false, '[]', ''),
    (7, 0, 10002, '', NULL, '\x07'::bytea, 'author of eight and more a'::bytea, true, '[]', 'of 1970'),
    (8, 1700000000, 30023, 'x', NULL, '\x08'::bytea, 'author of eight and more a'::bytea, true, '[["t","y"],["d"],["d","x","z"],["d","y"]]', 'first'),
    (9, 1710000000, 30023, 'x', 1710000100, '\x09'::bytea, 'author of eight and more a'::bytea, true, '[["d","x"]]', 'second'),
    (10, 1710000000, 30023, '', NULL, '\x0a'::bytea, 'author of eight and more a'::bytea, true, '[]', 'no d'),
    (11, 1710000000, 30023, '', NULL, '\x0b'::bytea, 'author of eight and more a'::bytea, true, '[["d",""]]', 'empty d, higher id'),
    (12, 1710000000, 30024, 'x', 9223372036854775807, '\x0c'::bytea, 'author of eight and more a'::bytea, false, '', ''),
    (13, 9007199254740992, 1, '', NULL, '\x0d'::bytea, 'author of eight and more b'::bytea, true, '[]', 'of the year 285,428,751'),
    (14, 9223372036854775806, 1, '', -9223372036854775808, '\x0e'::bytea, 'author of eight and more b'::bytea, true, '[[]]', 'the last second')
) AS e (seq, created_at, kind, d, expires, id, pubkey, whole, tags, content);
INSERT INTO sighting (created_at, event_seq, seen_at, relay_id) VALUES
    (1700000000, 1, 1700001000, 1), (1700000000, 1, 1700001001, 2), (1700000005, 3, 1700001002, 1), (9007199254740992, 13, 9007199254740992, 2);

INSERT INTO rollup_kind (kind, n, authors) VALUES (0, 4, ''), (1, 2, ''), (3, 1, ''), (10002, 2, ''), (30023, 4, ''), (30024, 1, '');
INSERT INTO rollup_day (day, n, authors) VALUES (0, 1, ''), (18518, 1, ''), (19675, 5, ''), (104249991374, 1, '');
INSERT INTO rollup_day_kind (day, kind, n) VALUES (0, 10002, 1), (18518, 3, 1), (104249991374, 1, 1);
INSERT INTO rollup_relay (relay_id, n) VALUES (1, 2), (2, 2);

INSERT INTO filter (hash, json) VALUES ('\x01', '{}'), ('\x02', '{"kinds":[10002]}');
INSERT INTO coverage (relay_id, filter_id, lo, hi, level, as_of, method, n) VALUES
    (1, 1, 0, 1700000000, 3, 1700000500, 'walk', 10), (1, 1, 1700000002, 9223372036854775807, 4, 1700000500, 'negentropy', 3),
    (2, 2, 0, 1700000000, 1, 1700000500, 'walk', 2);
INSERT INTO hole (relay_id, filter_id, lo, hi, kind, reason, n, seen_at, next_try) VALUES
    (1, 1, 1700000000, 1700000000, 1, 'overflow', 3, 1700000500, 1700000900), (2, 2, 0, 9223372036854775807, -1, 'policy', -1, 1700000500, 0);
