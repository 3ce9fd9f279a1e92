-- Models that clients bring as files: validated by a worker as datasets are, then trained from the file's weights.

ALTER TABLE models
  ALTER COLUMN spec DROP NOT NULL,
  ADD COLUMN state text NOT NULL DEFAULT 'ready' CHECK (state IN ('validating', 'ready', 'rejected')),
  ADD COLUMN sha256 digest REFERENCES blobs,
  ADD COLUMN bytes bigint,
  -- What a worker found in the file.
  ADD COLUMN facts jsonb,
  ADD COLUMN problem text,
  -- Fence of the lease that decided the state, so that a repeated report is recognised.
  ADD COLUMN fence bigint,
  ADD COLUMN validated_at timestamptz,
  ADD CHECK ((spec IS NULL) = (sha256 IS NOT NULL)),
  ADD CHECK ((sha256 IS NULL) = (bytes IS NULL)),
  ADD CHECK (sha256 IS NOT NULL OR state = 'ready'),
  ADD CHECK (sha256 IS NULL OR (state = 'ready') = (facts IS NOT NULL)),
  ADD CHECK ((state = 'rejected') = (problem IS NOT NULL));
CREATE INDEX models_by_content ON models (sha256);

ALTER TABLE work DROP CONSTRAINT work_kind_check;
ALTER TABLE work ADD CONSTRAINT work_kind_check CHECK (kind IN ('validation', 'model_validation', 'job'));

-- A finished job's model is kept as safetensors and, where ONNX has a form for it, as that.
ALTER TABLE checkpoints DROP CONSTRAINT checkpoints_kind_check;
ALTER TABLE checkpoints ADD CONSTRAINT checkpoints_kind_check CHECK (kind IN ('resume', 'model', 'onnx'));
