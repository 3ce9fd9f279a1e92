-- Jobs and what they leave behind: attempts, events, curves, checkpoints.

CREATE TABLE jobs (
  id identifier PRIMARY KEY,
  project identifier NOT NULL REFERENCES projects,
  -- Not a foreign key: a dataset may be deleted once no unfinished job needs it.
  dataset identifier NOT NULL,
  optimizer identifier REFERENCES optimizers,
  spec jsonb NOT NULL,
  model jsonb NOT NULL,
  state text NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')),
  reason text NOT NULL DEFAULT 'submitted',
  message text,
  step bigint NOT NULL DEFAULT 0 CHECK (step >= 0),
  loss double precision,
  attempt integer NOT NULL DEFAULT 0,
  result jsonb,
  -- Events so far: the number of the newest one. Counted under the row's lock, so numbers have no gaps.
  event_count bigint NOT NULL DEFAULT 0,
  revision bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  started_at timestamptz,
  finished_at timestamptz,
  CHECK ((state = 'succeeded') = (result IS NOT NULL)),
  CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
  -- Progress rewrites the row every second; free space on its page keeps those writes out of the indexes.
) WITH (fillfactor = 60);
CREATE INDEX jobs_by_project ON jobs (project, id DESC);
CREATE INDEX jobs_by_state ON jobs (project, state, id DESC);
CREATE INDEX jobs_unfinished ON jobs (dataset) WHERE finished_at IS NULL;

-- The table of allowed transitions; JobState.successors holds the same one.
CREATE FUNCTION job_may_become(old_state text, new_state text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE old_state
    WHEN 'queued' THEN new_state IN ('running', 'cancelled', 'failed')
    WHEN 'running' THEN new_state IN ('queued', 'cancelling', 'succeeded', 'failed')
    WHEN 'cancelling' THEN new_state IN ('cancelled', 'succeeded', 'failed')
    ELSE false
  END
$$;

CREATE FUNCTION jobs_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT job_may_become(OLD.state, NEW.state) THEN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER jobs_transition BEFORE UPDATE OF state ON jobs
  FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION jobs_check_transition();

CREATE TABLE job_attempts (
  job identifier NOT NULL REFERENCES jobs ON DELETE CASCADE,
  number integer NOT NULL CHECK (number >= 1),
  worker text NOT NULL,
  state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished', 'lost', 'released')),
  fence bigint NOT NULL,
  first_step bigint NOT NULL,
  cpu_level text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  PRIMARY KEY (job, number)
);

CREATE TABLE job_events (
  job identifier NOT NULL REFERENCES jobs ON DELETE CASCADE,
  sequence bigint NOT NULL CHECK (sequence >= 1),
  at timestamptz NOT NULL DEFAULT now(),
  kind text NOT NULL CHECK (kind IN ('state', 'attempt', 'evaluation', 'checkpoint', 'warning')),
  message text NOT NULL,
  data jsonb NOT NULL,
  PRIMARY KEY (job, sequence)
);

-- Points first_step, first_step + stride, ... of one series. A step stands in at most one chunk.
CREATE TABLE curve_chunks (
  job identifier NOT NULL REFERENCES jobs ON DELETE CASCADE,
  series text NOT NULL CHECK (series ~ '^(train_loss|held_out_[a-z_]{1,50})$'),
  first_step bigint NOT NULL CHECK (first_step >= 0),
  last_step bigint NOT NULL,
  stride bigint NOT NULL CHECK (stride >= 1),
  attempt integer NOT NULL,
  -- The commit that wrote it; 0 once compacted.
  sequence bigint NOT NULL,
  minimum real NOT NULL,
  maximum real NOT NULL,
  -- Little-endian binary32. real[] says the same in twice the bytes and is read six times slower.
  points bytea NOT NULL CHECK (length(points) BETWEEN 4 AND 262144 AND length(points) % 4 = 0),
  PRIMARY KEY (job, series, first_step),
  CHECK (last_step = first_step + stride * (length(points) / 4 - 1))
);
ALTER TABLE curve_chunks ALTER COLUMN points SET STORAGE EXTERNAL;

CREATE TABLE checkpoints (
  id identifier PRIMARY KEY,
  job identifier NOT NULL REFERENCES jobs ON DELETE CASCADE,
  kind text NOT NULL CHECK (kind IN ('resume', 'model')),
  step bigint NOT NULL CHECK (step >= 0),
  sha256 digest NOT NULL REFERENCES blobs,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX checkpoints_by_job ON checkpoints (job, kind, step DESC);
CREATE INDEX checkpoints_by_content ON checkpoints (sha256);
