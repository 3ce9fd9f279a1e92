-- Weights of learned optimizers that administrators bring as files: validated by a worker as models are.

ALTER TABLE optimizers DROP CONSTRAINT optimizers_state_check;
ALTER TABLE optimizers DROP CONSTRAINT optimizers_name_version_key;
ALTER TABLE optimizers
  ALTER COLUMN parameter_count DROP NOT NULL,
  ADD CONSTRAINT optimizers_state_check
    CHECK (state IN ('validating', 'candidate', 'released', 'deprecated', 'rejected')),
  -- The same weights in the form of the reference implementations; the uploaded file itself where it was in that form.
  ADD COLUMN flax digest REFERENCES blobs,
  -- The uploaded file. Until a worker has read it, sha256 is this too.
  ADD COLUMN source digest REFERENCES blobs,
  -- Constants of the architecture as they were given with the upload.
  ADD COLUMN constants jsonb NOT NULL DEFAULT '{}',
  -- What an upload becomes when it is found good.
  ADD COLUMN wanted text CHECK (wanted IN ('candidate', 'released')),
  ADD COLUMN problem text,
  -- Fence of the lease that decided the state, so that a repeated report is recognised.
  ADD COLUMN fence bigint,
  ADD CHECK (state IN ('validating', 'rejected') OR parameter_count IS NOT NULL),
  ADD CHECK (state <> 'validating' OR (source IS NOT NULL AND wanted IS NOT NULL)),
  ADD CHECK ((state = 'rejected') = (problem IS NOT NULL));
-- A file that was rejected leaves its version free.
CREATE UNIQUE INDEX optimizers_by_version ON optimizers (name, version) WHERE state <> 'rejected';
CREATE INDEX optimizers_by_flax ON optimizers (flax);
CREATE INDEX optimizers_by_source ON optimizers (source);

ALTER TABLE work DROP CONSTRAINT work_kind_check;
ALTER TABLE work ADD CONSTRAINT work_kind_check
  CHECK (kind IN ('validation', 'model_validation', 'optimizer_validation', 'job'));

-- Who may make keys could already do everything.
UPDATE keys SET scopes = scopes || 'optimizers:admin'::text
WHERE 'keys:admin' = ANY (scopes) AND NOT 'optimizers:admin' = ANY (scopes);
