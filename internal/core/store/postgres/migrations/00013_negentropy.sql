-- +goose Up

-- When a relay was found not to do NIP-77, or not as it should, and why in one
-- word; and how many records it says it reconciles at most.
ALTER TABLE calibration ADD COLUMN no_negentropy bigint NOT NULL DEFAULT 0;
ALTER TABLE calibration ADD COLUMN negentropy_cause text NOT NULL DEFAULT '';
ALTER TABLE calibration ADD COLUMN negentropy_most bigint NOT NULL DEFAULT 0;
