-- +goose Up

-- Which documents a relay had and when: a row for each change. A document is
-- kept while a row names it.
CREATE TABLE document_period (
    relay_id    INTEGER NOT NULL,
    type        TEXT NOT NULL,
    since       INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    document_id BLOB NOT NULL,
    PRIMARY KEY (relay_id, type, since)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_period_document ON document_period (document_id);

-- Each run of results with one document was a period.
INSERT INTO document_period
SELECT relay_id, type, min(at), max(at), document_id FROM (
    SELECT c.relay_id, d.type, c.at, c.document_id,
        row_number() OVER (PARTITION BY c.relay_id, d.type ORDER BY c.at)
            - row_number() OVER (PARTITION BY c.relay_id, d.type, c.document_id ORDER BY c.at) AS run
    FROM check_result c JOIN document d ON d.id = c.document_id)
GROUP BY relay_id, type, document_id, run;

-- How long a relay was seen to open and not to, in seconds.
ALTER TABLE relay ADD COLUMN seen_up INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN seen_down INTEGER NOT NULL DEFAULT 0;
