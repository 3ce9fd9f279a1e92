-- What jobs are made from: contents by their hash, datasets, model definitions, learned optimizers.

CREATE TABLE blobs (
  sha256 digest PRIMARY KEY,
  bytes bigint NOT NULL CHECK (bytes >= 0),
  -- When it was last uploaded; content that nothing refers to is kept for a while after this.
  touched_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX blobs_by_touch ON blobs (touched_at);

CREATE TABLE blob_chunks (
  sha256 digest NOT NULL REFERENCES blobs ON DELETE CASCADE,
  -- From 0; every chunk but the last has 1 MiB.
  position integer NOT NULL CHECK (position >= 0),
  content bytea NOT NULL CHECK (length(content) BETWEEN 1 AND 1048576),
  PRIMARY KEY (sha256, position)
);
-- Datasets and weights do not compress; EXTERNAL skips the attempt and lets a part be read without the whole.
ALTER TABLE blob_chunks ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE datasets (
  id identifier PRIMARY KEY,
  project identifier NOT NULL REFERENCES projects,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  options jsonb NOT NULL,
  state text NOT NULL DEFAULT 'validating' CHECK (state IN ('validating', 'ready', 'rejected')),
  sha256 digest NOT NULL REFERENCES blobs,
  bytes bigint NOT NULL,
  schema jsonb,
  preview jsonb,
  problem_count integer NOT NULL DEFAULT 0,
  -- Fence of the lease that decided the state, so that a repeated report is recognised.
  fence bigint,
  created_at timestamptz NOT NULL DEFAULT now(),
  validated_at timestamptz,
  CHECK ((state = 'ready') = (schema IS NOT NULL)),
  CHECK ((state = 'validating') = (validated_at IS NULL))
);
CREATE INDEX datasets_by_project ON datasets (project, id DESC);
CREATE INDEX datasets_by_content ON datasets (sha256);

CREATE TABLE dataset_problems (
  dataset identifier NOT NULL REFERENCES datasets ON DELETE CASCADE,
  position integer NOT NULL,
  row_number bigint,
  column_name text,
  reason text NOT NULL,
  PRIMARY KEY (dataset, position)
);

CREATE TABLE models (
  id identifier PRIMARY KEY,
  project identifier NOT NULL REFERENCES projects,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  spec jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX models_by_project ON models (project, id DESC);

CREATE TABLE optimizers (
  id identifier PRIMARY KEY,
  name text NOT NULL,
  version integer NOT NULL CHECK (version >= 1),
  state text NOT NULL CHECK (state IN ('candidate', 'released', 'deprecated')),
  sha256 digest NOT NULL REFERENCES blobs,
  parameter_count bigint NOT NULL CHECK (parameter_count > 0),
  provenance jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  released_at timestamptz,
  UNIQUE (name, version)
);
CREATE INDEX optimizers_by_content ON optimizers (sha256);
