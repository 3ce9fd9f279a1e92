-- What operators need: keys with a new secret beside the old one, projects with quotas, and scopes for projects, the audit
-- log and the metrics.

-- The secret before the last rotation, which works until its time is over.
ALTER TABLE keys
  ADD COLUMN former_sha256 digest UNIQUE,
  ADD COLUMN former_until timestamptz,
  ADD COLUMN rotated_at timestamptz,
  ADD CHECK ((former_sha256 IS NULL) = (former_until IS NULL));

-- Null takes the server's default.
ALTER TABLE projects
  ADD COLUMN unfinished_jobs_max bigint CHECK (unfinished_jobs_max >= 0),
  ADD COLUMN unfinished_campaigns_max bigint CHECK (unfinished_campaigns_max >= 0),
  ADD COLUMN dataset_bytes_max bigint CHECK (dataset_bytes_max >= 0);

UPDATE keys SET scopes = scopes || ARRAY['projects:admin', 'audit:read', 'metrics:read']
WHERE 'keys:admin' = ANY (scopes) AND NOT 'projects:admin' = ANY (scopes);
