-- Meta-training campaigns: their phases, the versions of theta, the outer steps from whose results every theta can be
-- computed again, and the groups of pairs that workers lease.

CREATE TABLE campaigns (
  id identifier PRIMARY KEY,
  project identifier NOT NULL REFERENCES projects,
  name text NOT NULL,
  spec jsonb NOT NULL,
  state text NOT NULL DEFAULT 'queued' CHECK (
    state IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled')),
  reason text NOT NULL DEFAULT 'submitted',
  message text,
  -- Where theta 0 comes from, if not from the seed: another campaign's version, or a version of the registry.
  parent identifier,
  parent_version bigint,
  start identifier REFERENCES optimizers,
  -- The head: theta's version, the phase it is in, and outer steps of that phase so far.
  version bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
  phase integer NOT NULL DEFAULT 0,
  outer_iteration bigint NOT NULL DEFAULT 0 CHECK (outer_iteration >= 0),
  growth_level integer NOT NULL DEFAULT 0,
  outer_steps bigint NOT NULL CHECK (outer_steps >= 1),
  inner_steps bigint NOT NULL DEFAULT 0,
  loss double precision,
  -- Only results of this level and engine are taken; set by the first learner.
  cpu_level text,
  engine text,
  attempt integer NOT NULL DEFAULT 0,
  event_count bigint NOT NULL DEFAULT 0,
  revision bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  started_at timestamptz,
  finished_at timestamptz,
  CHECK ((parent IS NULL) = (parent_version IS NULL)),
  CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 60);
CREATE INDEX campaigns_by_project ON campaigns (project, id DESC);

-- The table of allowed transitions; CampaignState.successors holds the same one.
CREATE FUNCTION campaign_may_become(old_state text, new_state text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE old_state
    WHEN 'queued' THEN new_state IN ('running', 'paused', 'cancelled', 'failed')
    WHEN 'running' THEN new_state IN ('queued', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed')
    WHEN 'pausing' THEN new_state IN ('paused', 'queued', 'cancelling', 'succeeded', 'failed')
    WHEN 'paused' THEN new_state IN ('queued', 'cancelled')
    WHEN 'cancelling' THEN new_state IN ('cancelled', 'succeeded', 'failed')
    ELSE false
  END
$$;

CREATE FUNCTION campaigns_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT campaign_may_become(OLD.state, NEW.state) THEN
    RAISE EXCEPTION 'campaign % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER campaigns_transition BEFORE UPDATE OF state ON campaigns
  FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION campaigns_check_transition();

-- A phase never changes; a change of settings is a new phase in the place of the old one.
CREATE TABLE campaign_phases (
  campaign identifier NOT NULL REFERENCES campaigns ON DELETE CASCADE,
  number integer NOT NULL CHECK (number >= 0),
  -- Phases run in this order; of those with one position the one that is not superseded counts.
  position integer NOT NULL CHECK (position >= 0),
  parent integer,
  -- The phase whose number the keys of its pairs come from.
  keys_from integer NOT NULL,
  settings jsonb NOT NULL,
  state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'active', 'done', 'superseded')),
  first_version bigint,
  last_version bigint,
  author text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (campaign, number),
  FOREIGN KEY (campaign, parent) REFERENCES campaign_phases (campaign, number)
);

CREATE TABLE campaign_events (
  campaign identifier NOT NULL REFERENCES campaigns ON DELETE CASCADE,
  sequence bigint NOT NULL CHECK (sequence >= 1),
  at timestamptz NOT NULL DEFAULT now(),
  kind text NOT NULL CHECK (kind IN ('state', 'attempt', 'phase', 'evaluation', 'checkpoint', 'warning')),
  message text NOT NULL,
  data jsonb NOT NULL,
  PRIMARY KEY (campaign, sequence)
);

-- Versions of theta that are stored. In distributed mode that is every version for as long as a group may need it; what is
-- kept for good says so.
CREATE TABLE campaign_thetas (
  campaign identifier NOT NULL REFERENCES campaigns ON DELETE CASCADE,
  version bigint NOT NULL CHECK (version >= 0),
  -- A theta file with its provenance.
  content bytea NOT NULL,
  sha256 digest NOT NULL,
  -- Why it stays: 'start', 'phase', 'spaced', 'evaluated', 'promoted', 'last'; nil for those that may go.
  kept text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (campaign, version)
);
ALTER TABLE campaign_thetas ALTER COLUMN content SET STORAGE EXTERNAL;

-- States to go on from: the outer learner's, and in local mode all particles with it. The newest alone is needed.
CREATE TABLE campaign_snapshots (
  campaign identifier NOT NULL REFERENCES campaigns ON DELETE CASCADE,
  version bigint NOT NULL,
  sha256 digest NOT NULL REFERENCES blobs,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (campaign, version)
);
CREATE INDEX campaign_snapshots_by_content ON campaign_snapshots (sha256);

-- What every outer step was made of. Theta of any version follows from theta 0, the phases and these rows.
CREATE TABLE campaign_steps (
  campaign identifier NOT NULL REFERENCES campaigns ON DELETE CASCADE,
  -- Of the theta that the step made.
  version bigint NOT NULL CHECK (version >= 1),
  phase integer NOT NULL,
  outer_iteration bigint NOT NULL,
  -- Mean normalised inner loss; null when none was finite.
  mean_loss real,
  -- Share of the pairs that counted.
  surviving real NOT NULL,
  gradient_norm real,
  update_norm real,
  clip_share real,
  learning_rate real,
  inner_steps bigint NOT NULL,
  -- Results by the outer steps that theta had moved on since: index 1 is none.
  staleness integer[] NOT NULL DEFAULT '{}',
  discarded integer NOT NULL DEFAULT 0,
  wall_ms integer NOT NULL,
  -- Groups, windows and their rows, in the order in which they were added up.
  results bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (campaign, version)
);
ALTER TABLE campaign_steps ALTER COLUMN results SET STORAGE EXTERNAL;

-- Distributed mode: one row for each group of pairs, which goes from window to window. Rows are changed in place, so the
-- table stays as large as the campaigns are wide.
CREATE TABLE campaign_groups (
  campaign identifier NOT NULL REFERENCES campaigns ON DELETE CASCADE,
  number integer NOT NULL CHECK (number >= 0),
  -- The phase that the keys of its pairs come from.
  phase integer NOT NULL,
  -- The window to run next or being run, from 0 in that phase, and the version of theta around which it runs.
  window_index bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL,
  outer_iteration bigint NOT NULL,
  growth_level integer NOT NULL DEFAULT 0,
  -- ready: to be leased. done: has results, and goes on when a step has used them. waiting: its phase is over.
  state text NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'done', 'waiting')),
  -- Counts how often the group was begun anew with new keys because no worker could run it.
  generation integer NOT NULL DEFAULT 0,
  -- Who holds it, or ran its last window and has its state in memory.
  worker text,
  fence bigint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  -- When others than the worker that has its state in memory may take it.
  free_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempts integer NOT NULL DEFAULT 0,
  -- How long its last window took.
  window_ms integer NOT NULL DEFAULT 0,
  -- Versions and outer iterations and levels of the windows since the last snapshot, oldest first: three numbers each.
  history bigint[] NOT NULL DEFAULT '{}',
  snapshot_window bigint NOT NULL DEFAULT 0,
  -- Results that no step has used, oldest first, each after its length and generation; how many there are, and how many
  -- there may be for the group to go on all the same.
  results bytea,
  pending integer NOT NULL DEFAULT 0,
  ahead integer NOT NULL DEFAULT 0,
  PRIMARY KEY (campaign, number),
  CHECK ((state = 'leased') = (lease_until IS NOT NULL)),
  CHECK ((pending > 0) = (results IS NOT NULL)),
  CHECK (state <> 'done' OR pending > 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE campaign_groups ALTER COLUMN results SET STORAGE MAIN;
CREATE INDEX campaign_groups_free ON campaign_groups (free_at) WHERE state = 'ready';
CREATE INDEX campaign_groups_own ON campaign_groups (worker) WHERE state = 'ready';
CREATE INDEX campaign_groups_leased ON campaign_groups (lease_until) WHERE state = 'leased';

-- The pairs' inner trainings after some window, so that another worker need not run the phase from its start.
CREATE TABLE campaign_group_states (
  campaign identifier NOT NULL,
  number integer NOT NULL,
  phase integer NOT NULL,
  generation integer NOT NULL,
  window_index bigint NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (campaign, number),
  FOREIGN KEY (campaign, number) REFERENCES campaign_groups ON DELETE CASCADE
);
ALTER TABLE campaign_group_states ALTER COLUMN content SET STORAGE EXTERNAL;

-- Two kinds of learner: one that computes all windows itself on a slot, and one that hands groups out.
ALTER TABLE work DROP CONSTRAINT work_kind_check;
ALTER TABLE work ADD CONSTRAINT work_kind_check CHECK (
  kind IN ('validation', 'model_validation', 'optimizer_validation', 'job', 'campaign', 'distributed_campaign'));
ALTER TABLE work DROP CONSTRAINT work_priority_check;
ALTER TABLE work ADD CONSTRAINT work_priority_check CHECK (priority BETWEEN -1 AND 20);

-- Who may make keys could already do everything.
UPDATE keys SET scopes = scopes || ARRAY['campaigns:read', 'campaigns:admin']
WHERE 'keys:admin' = ANY (scopes) AND NOT 'campaigns:admin' = ANY (scopes);
