-- Who may trigger: organisations, their environments, and the keys that open
-- an environment. Every node holds these three tables whole in memory.

-- +goose Up
CREATE TABLE organisations (
    id         text        PRIMARY KEY,
    name       text        NOT NULL UNIQUE,
    enrolled   boolean     NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE environments (
    id         text        PRIMARY KEY,
    org_id     text        NOT NULL REFERENCES organisations (id),
    name       text        NOT NULL,
    type       text        NOT NULL CHECK (type IN ('dev', 'stg', 'prod', 'preview')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, name)
);

-- A key is found by its SHA-256 and is stored nowhere in the clear. Root keys
-- are also kept sealed, because public tokens are signed with the key itself.
CREATE TABLE api_keys (
    key_hash   bytea       PRIMARY KEY CHECK (octet_length(key_hash) = 32),
    env_id     text        NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    kind       text        NOT NULL CHECK (kind IN ('root', 'additional')),
    sealed     bytea       CHECK ((kind = 'root') = (sealed IS NOT NULL)),
    hint       text        NOT NULL CHECK (length(hint) <= 4),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);

-- An environment has one root key that does not end; rotation gives the old
-- one an end in the statement before the new one is stored.
CREATE UNIQUE INDEX api_keys_current_root ON api_keys (env_id) WHERE kind = 'root' AND expires_at IS NULL;
CREATE INDEX api_keys_env_id ON api_keys (env_id);

-- One row, whose lock puts every change of the three tables in one order: a
-- reader that has seen version v has seen every change up to v.
CREATE TABLE tenant_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL
);
INSERT INTO tenant_version (version) VALUES (1);

-- +goose StatementBegin
CREATE FUNCTION tenant_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v bigint;
BEGIN
    UPDATE tenant_version SET version = version + 1 RETURNING version INTO v;
    PERFORM pg_notify('mollifier_tenant', v::text);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER organisations_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON organisations
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_changed();
CREATE TRIGGER environments_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON environments
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_changed();
CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_changed();

-- +goose Down
DROP TABLE api_keys;
DROP TABLE environments;
DROP TABLE organisations;
DROP TABLE tenant_version;
DROP FUNCTION tenant_changed();
