-- +goose Up

-- Cursors name the archive they are of: a restored one numbers other events
-- with the same numbers.
INSERT INTO setting (name, value) VALUES ('epoch', abs(random() >> 1));
UPDATE position SET cursor = (SELECT value FROM setting WHERE name = 'epoch') || '.' || cursor WHERE cursor <> '';
