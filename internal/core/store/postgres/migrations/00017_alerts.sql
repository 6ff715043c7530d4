-- +goose Up

-- What receivers are to hear, once each: about is when what it tells of began
-- or will be, done whether it was delivered or given up.
CREATE TABLE alert (
    receiver    text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    relay_id    integer NOT NULL,
    about       bigint NOT NULL,
    at          bigint NOT NULL,
    cause       text NOT NULL,
    done        boolean NOT NULL DEFAULT false,
    next_due    bigint NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    lease_owner text NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (receiver, kind, relay_id, about)
);
CREATE INDEX alert_due ON alert (receiver, next_due) WHERE NOT done;
CREATE INDEX alert_at ON alert (at);
