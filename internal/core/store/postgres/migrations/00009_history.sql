-- +goose Up

-- Which documents a relay had and when: a row for each change. A document is
-- kept while a row names it.
CREATE TABLE document_period (
    relay_id    integer NOT NULL,
    type        text COLLATE "C" NOT NULL,
    since       bigint NOT NULL,
    until       bigint NOT NULL,
    document_id bytea NOT NULL,
    PRIMARY KEY (relay_id, type, since)
);
CREATE INDEX document_period_document ON document_period (document_id);

-- Each run of results with one document was a period.
INSERT INTO document_period
SELECT relay_id, type, min(at), max(at), document_id FROM (
    SELECT c.relay_id, d.type, c.at, c.document_id,
        row_number() OVER (PARTITION BY c.relay_id, d.type ORDER BY c.at)
            - row_number() OVER (PARTITION BY c.relay_id, d.type, c.document_id ORDER BY c.at) AS run
    FROM check_result c JOIN document d ON d.id = c.document_id) AS runs
GROUP BY relay_id, type, document_id, run;

-- How long a relay was seen to open and not to, in seconds.
ALTER TABLE relay ADD COLUMN seen_up bigint NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN seen_down bigint NOT NULL DEFAULT 0;
