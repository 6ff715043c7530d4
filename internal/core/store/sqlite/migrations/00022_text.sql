-- +goose Up

-- The words of public texts (NIP-50), separated by spaces and known by a number
-- made of the time and the number of the event, so that the newest are found
-- first; see textID.
CREATE VIRTUAL TABLE event_text USING fts5(words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');
