-- The queue of everything that workers lease, and the workers.

-- Fencing tokens. Sequences never go back, not even by a crash.
CREATE SEQUENCE work_fences;

CREATE TABLE work (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('validation', 'job')),
  -- The dataset or job; it has one row here for as long as there is something to do for it.
  subject identifier NOT NULL UNIQUE,
  -- Lower goes first. Validations take seconds and jobs wait for them, so they go before any job.
  priority smallint NOT NULL CHECK (priority BETWEEN -1 AND 9),
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'leased')),
  worker text,
  -- Token of the current lease. Every write of a worker names it and changes nothing when it is not the current one.
  fence bigint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  -- After an attempt that ended with an error the next one waits, longer each time.
  not_before timestamptz,
  attempt integer NOT NULL DEFAULT 0,
  -- Attempts that ended without a word or with an error; bounded.
  losses integer NOT NULL DEFAULT 0,
  -- Number of the last progress commit of the current lease.
  last_sequence bigint NOT NULL DEFAULT 0,
  CHECK ((state = 'leased') = (lease_until IS NOT NULL)),
  CHECK ((state = 'leased') = (worker IS NOT NULL))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
CREATE INDEX work_queued ON work (priority, id) WHERE state = 'queued';
CREATE INDEX work_leased ON work (lease_until) WHERE state = 'leased';

CREATE TABLE workers (
  id identifier PRIMARY KEY,
  host text NOT NULL,
  process_id integer NOT NULL,
  slots integer NOT NULL CHECK (slots >= 1),
  cpu_level text NOT NULL,
  -- What one core does in a second, measured when the worker started.
  product_flops_per_s double precision NOT NULL CHECK (product_flops_per_s > 0),
  functions_per_s double precision NOT NULL CHECK (functions_per_s > 0),
  bytes_per_s double precision NOT NULL CHECK (bytes_per_s > 0),
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
