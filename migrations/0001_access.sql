-- Who may use the service, what they did, and what they already asked for.

-- Ids are prefixed, time-ordered ASCII; "C" makes their order the byte order on every server.
CREATE DOMAIN identifier AS text COLLATE "C" CHECK (length(VALUE) BETWEEN 1 AND 64);
-- A SHA-256 digest.
CREATE DOMAIN digest AS bytea CHECK (length(VALUE) = 32);

CREATE TABLE projects (
  id identifier PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]*$'),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE keys (
  id identifier PRIMARY KEY,
  project identifier NOT NULL REFERENCES projects,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
  -- Only the hash is kept: the secret has 160 random bits, so it needs neither salt nor stretching.
  secret_sha256 digest NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX keys_by_project ON keys (project, id);

-- What a POST with an Idempotency-Key made. Written in the transaction that makes it.
CREATE TABLE idempotency (
  project identifier NOT NULL REFERENCES projects,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  route text NOT NULL,
  request_sha256 digest NOT NULL,
  subject identifier NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  project identifier NOT NULL,
  -- The key that did it; null for the command line on the server itself.
  key identifier,
  action text NOT NULL CHECK (length(action) BETWEEN 1 AND 100),
  subject identifier,
  detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_project ON audit (project, id DESC);
