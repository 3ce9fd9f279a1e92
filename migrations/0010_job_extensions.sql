-- A job's work knows how far the job was extended, so that one statement can end the job or find that there is more to do:
-- whoever waits for a row's lock sees the row's newest version, and nothing newer of any other table.
ALTER TABLE work ADD COLUMN extended_to bigint CHECK (extended_to >= 1);
UPDATE work SET extended_to = (budgets ->> -1)::bigint
FROM jobs WHERE jobs.id = work.subject AND jsonb_array_length(budgets) > 1;
