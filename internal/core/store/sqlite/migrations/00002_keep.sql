-- +goose Up

-- What was decided for this database. keep is "full" or "index",
-- keep_full_kinds a JSON array; thin is there while an archive becomes an
-- index: up to which seq its events were thinned.
CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- What has events already has kept them whole.
INSERT INTO setting SELECT 'keep', 'full' WHERE EXISTS (SELECT 1 FROM event);

-- An event that is not kept whole has empty sig, tags and content, and instead
-- the hashes of its indexed tags, eight bytes each, ascending; of an
-- addressable one the hash of its d tag; and when it expires (NIP-40). Events
-- kept whole have NULL in all three.
ALTER TABLE event ADD COLUMN tagh BLOB;
ALTER TABLE event ADD COLUMN d INTEGER;
ALTER TABLE event ADD COLUMN expires INTEGER;
