-- Jobs that pause, go on for longer than they were made for, change their names, and fall back to another optimizer.

ALTER TABLE jobs DROP CONSTRAINT jobs_state_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_state_check
  CHECK (state IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled'));

CREATE OR REPLACE FUNCTION job_may_become(old_state text, new_state text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE old_state
    WHEN 'queued' THEN new_state IN ('running', 'paused', 'cancelled', 'failed')
    WHEN 'running' THEN new_state IN ('queued', 'pausing', 'cancelling', 'succeeded', 'failed')
    WHEN 'pausing' THEN new_state IN ('running', 'paused', 'cancelling', 'succeeded', 'failed')
    WHEN 'paused' THEN new_state IN ('queued', 'cancelled')
    WHEN 'cancelling' THEN new_state IN ('cancelled', 'succeeded', 'failed')
    ELSE false
  END
$$;

ALTER TABLE jobs
  -- Name, tags and priority where they were changed since; the spec stays as it was sent.
  ADD COLUMN changes jsonb NOT NULL DEFAULT '{}',
  -- Steps in all at the end of each budget, ascending: the one that the job was made for, then one for each extension.
  ADD COLUMN budgets jsonb CHECK (jsonb_typeof(budgets) = 'array' AND jsonb_array_length(budgets) >= 1),
  -- The job whose end this one goes on from. A name, not a key: that job may be deleted.
  ADD COLUMN extends identifier,
  ADD COLUMN first_step bigint NOT NULL DEFAULT 0 CHECK (first_step >= 0),
  -- The optimizer that took over when the learned one diverged, from which step on, and why.
  ADD COLUMN fallback jsonb;
UPDATE jobs SET budgets = jsonb_build_array((spec ->> 'steps')::bigint);
ALTER TABLE jobs ALTER COLUMN budgets SET NOT NULL;

ALTER TABLE job_events DROP CONSTRAINT job_events_kind_check;
ALTER TABLE job_events ADD CONSTRAINT job_events_kind_check
  CHECK (kind IN ('state', 'attempt', 'evaluation', 'checkpoint', 'warning', 'change'));

-- An anchor is what a run goes back to when its learned optimizer diverges.
ALTER TABLE checkpoints DROP CONSTRAINT checkpoints_kind_check;
ALTER TABLE checkpoints ADD CONSTRAINT checkpoints_kind_check CHECK (kind IN ('resume', 'model', 'onnx', 'anchor'));
