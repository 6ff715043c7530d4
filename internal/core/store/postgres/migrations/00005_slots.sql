-- +goose Up

-- The connections at work of all processes, and who waits for one. A row that
-- is not renewed ends by itself.
CREATE TABLE host_slot (
    host   text COLLATE "C" NOT NULL,
    owner  text COLLATE "C" NOT NULL,
    ticket bigint NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    held   boolean NOT NULL,
    PRIMARY KEY (host, owner, ticket)
);

-- When the next connection may be opened, by any process, as it was in a minute
-- since 1970. One row alone would be slow while a dump of hours keeps all of its
-- versions.
CREATE TABLE open_pace (
    minute bigint PRIMARY KEY,
    next   timestamptz NOT NULL
);

-- Takes one of the places of a host or waits in line for it: whoever came first
-- is served first. With a place comes, unless per_minute is 0, a moment at which
-- to open a connection; where that is further ahead than patience, there is no
-- place. pause is the time until then in milliseconds, null where the host is
-- full. Times are the server's. What lies further ahead than it can was written
-- before the clock was set back and does not count.
-- A crash may forget what was taken in the last moments, so nothing waits for
-- the disk.
-- +goose StatementBegin
CREATE FUNCTION take_slot(
    host_name text, owner_name text, number bigint, places integer, lease_ms bigint, turn_ms bigint,
    per_minute integer, patience_ms bigint,
    OUT taken boolean, OUT pause bigint
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    lease CONSTANT interval := lease_ms * interval '1 millisecond';
    turn CONSTANT interval := turn_ms * interval '1 millisecond';
    patience CONSTANT interval := patience_ms * interval '1 millisecond';
    step interval;
    now_minute bigint;
    t timestamptz;
    came timestamptz;
    opens timestamptz;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(1650618229, hashtext(host_name));
    t := clock_timestamp();
    SELECT s.since INTO came FROM host_slot s WHERE s.host = host_name AND s.owner = owner_name AND s.ticket = number;
    came := coalesce(came, t);
    SELECT count(*) < places INTO taken
    FROM host_slot s
    WHERE s.host = host_name AND s.until BETWEEN t AND t + greatest(lease, turn)
      AND (s.held OR (s.since, s.owner, s.ticket) < (came, owner_name, number))
      AND (s.owner <> owner_name OR s.ticket <> number);
    IF taken THEN
        pause := 0;
    END IF;
    IF taken AND per_minute > 0 THEN
        step := interval '1 minute' / per_minute;
        now_minute := floor(extract(epoch FROM t) / 60);
        PERFORM pg_advisory_xact_lock(422558266373);
        SELECT p.next INTO opens FROM open_pace p WHERE p.minute <= now_minute ORDER BY p.minute DESC LIMIT 1;
        -- After a rest, a second's worth may be opened at once.
        opens := greatest(opens, t - step * (greatest(per_minute / 60, 1) - 1));
        taken := opens <= t + patience;
        pause := greatest(0, ceil(1000 * extract(epoch FROM opens - t)));
        IF taken THEN
            INSERT INTO open_pace AS p (minute, next) VALUES (now_minute, opens + step)
            ON CONFLICT (minute) DO UPDATE SET next = excluded.next;
        END IF;
    END IF;
    INSERT INTO host_slot AS s (host, owner, ticket, since, until, held)
    VALUES (host_name, owner_name, number, came, t + CASE WHEN taken THEN lease ELSE turn END, taken)
    ON CONFLICT (host, owner, ticket) DO UPDATE SET until = excluded.until, held = excluded.held
    WHERE excluded.held OR s.until NOT BETWEEN t + turn / 2 AND t + turn;
END $$;
-- +goose StatementEnd
