-- What operators change while nodes run, and who changed what. Every node holds
-- the overrides whole in memory.

-- +goose Up

-- One row is one thing that holds for one environment: its gate, or that it is not
-- drained. An env_id of '' is all environments, of which only the drain can be said.
CREATE TABLE overrides (
    env_id    text        NOT NULL,
    kind      text        NOT NULL CHECK (kind IN ('gate', 'drain')),
    window_us bigint      CHECK (window_us > 0),
    threshold integer     CHECK (threshold > 0),
    hold_us   bigint      CHECK (hold_us > 0),
    force     text        CHECK (force IN ('pass', 'mollify')),
    set_by    text        NOT NULL,
    reason    text        NOT NULL,
    set_at    timestamptz NOT NULL DEFAULT now(),
    ends_at   timestamptz,
    PRIMARY KEY (env_id, kind),
    CHECK (kind = 'drain' OR env_id <> ''),
    CHECK (kind = 'gate' OR num_nonnulls(window_us, threshold, hold_us, force) = 0)
);

-- One row, whose lock puts all changes in one order: a reader that has seen
-- version v has seen every change up to v.
CREATE TABLE override_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL
);
INSERT INTO override_version (version) VALUES (1);

-- +goose StatementBegin
CREATE FUNCTION overrides_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v bigint;
BEGIN
    UPDATE override_version SET version = version + 1 RETURNING version INTO v;
    PERFORM pg_notify('mollifier_override', v::text);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER overrides_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON overrides
    FOR EACH STATEMENT EXECUTE FUNCTION overrides_changed();

-- What was done through the admin API, in the order in which it took effect. detail
-- is a document of ours.
CREATE TABLE admin_audit (
    id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor  text        NOT NULL,
    node   text        NOT NULL,
    action text        NOT NULL,
    env_id text        NOT NULL,
    reason text        NOT NULL,
    detail jsonb       NOT NULL
);

-- +goose Down
DROP TABLE admin_audit;
DROP TABLE overrides;
DROP TABLE override_version;
DROP FUNCTION overrides_changed();
