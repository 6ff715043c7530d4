-- +goose Up

-- What reading a relay has cost since it is counted, by way: "visit" or "tail".
-- received are events, fresh those archived for the first time, known those that
-- were archived before; last is the stretch of work that was added last.
CREATE TABLE cost (
    relay_id INTEGER NOT NULL,
    way      TEXT NOT NULL,
    since    INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    received INTEGER NOT NULL,
    fresh    INTEGER NOT NULL,
    known    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    PRIMARY KEY (relay_id, way)
) STRICT, WITHOUT ROWID;
