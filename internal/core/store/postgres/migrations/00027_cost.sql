-- +goose Up

-- What reading a relay has cost since it is counted, by way: "visit" or "tail".
-- received are events, fresh those archived for the first time, known those that
-- were archived before; last is the stretch of work that was added last.
CREATE TABLE cost (
    relay_id integer NOT NULL,
    way      text COLLATE "C" NOT NULL,
    since    bigint NOT NULL,
    requests bigint NOT NULL,
    bytes    bigint NOT NULL,
    received bigint NOT NULL,
    fresh    bigint NOT NULL,
    known    bigint NOT NULL,
    last     bigint NOT NULL,
    PRIMARY KEY (relay_id, way)
);
