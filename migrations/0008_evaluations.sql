-- Evaluations of optimizers: what was asked for, the trainings it comes to, and what they measured.

CREATE TABLE evaluations (
  id identifier PRIMARY KEY,
  project identifier NOT NULL REFERENCES projects,
  spec jsonb NOT NULL,
  -- Of a campaign that asked for it: whose theta, and after how many outer steps. Names, not keys.
  campaign identifier,
  campaign_version bigint,
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
  message text,
  plan jsonb,
  -- Trainings that have not ended; the one that brings it to zero queues the report.
  open_runs integer NOT NULL DEFAULT 0 CHECK (open_runs >= 0),
  summary jsonb,
  report_json digest REFERENCES blobs,
  report_html digest REFERENCES blobs,
  -- Fence of the lease that decided the state, so that a repeated report is recognised.
  fence bigint,
  created_at timestamptz NOT NULL DEFAULT now(),
  started_at timestamptz,
  finished_at timestamptz,
  revision bigint NOT NULL DEFAULT 1,
  CHECK ((campaign IS NULL) = (campaign_version IS NULL)),
  CHECK ((state = 'succeeded') = (report_json IS NOT NULL)),
  CHECK ((state = 'failed') = (message IS NOT NULL)),
  CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 60);
CREATE INDEX evaluations_by_project ON evaluations (project, id DESC);
CREATE INDEX evaluations_by_state ON evaluations (project, state, id DESC);
-- A version is evaluated once.
CREATE UNIQUE INDEX evaluations_of_campaign ON evaluations (campaign, campaign_version DESC) WHERE campaign IS NOT NULL;
CREATE INDEX evaluations_by_json ON evaluations (report_json);
CREATE INDEX evaluations_by_html ON evaluations (report_html);

-- The weights of the optimizers that have some, as they were when the evaluation was made.
CREATE TABLE evaluation_weights (
  evaluation identifier NOT NULL REFERENCES evaluations ON DELETE CASCADE,
  -- From 0 in the order of the spec.
  position integer NOT NULL CHECK (position >= 0),
  sha256 digest NOT NULL REFERENCES blobs,
  -- Such as "celo 3".
  name text NOT NULL,
  PRIMARY KEY (evaluation, position)
);
CREATE INDEX evaluation_weights_by_content ON evaluation_weights (sha256);

-- What a training measured, under the hash of all that it depends on. Never changed: equal trainings are looked up.
CREATE TABLE evaluation_results (
  key digest PRIMARY KEY,
  content bytea NOT NULL CHECK (length(content) BETWEEN 1 AND 16777216),
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE evaluation_runs (
  id identifier PRIMARY KEY,
  evaluation identifier NOT NULL REFERENCES evaluations ON DELETE CASCADE,
  -- Place in the plan, from 0.
  position integer NOT NULL CHECK (position >= 0),
  spec jsonb NOT NULL,
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),
  result digest REFERENCES evaluation_results,
  reason text,
  -- Fence of the lease that ended it.
  fence bigint,
  UNIQUE (evaluation, position),
  CHECK ((state = 'done') = (result IS NOT NULL)),
  CHECK ((state = 'failed') = (reason IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX evaluation_runs_by_state ON evaluation_runs (evaluation, state);
CREATE INDEX evaluation_runs_by_result ON evaluation_runs (result);

-- The kinds of work are those that the program knows; one more of them needs no migration.
ALTER TABLE work DROP CONSTRAINT work_kind_check;
ALTER TABLE work ADD CONSTRAINT work_kind_check CHECK (kind ~ '^[a-z_]{1,40}$');
