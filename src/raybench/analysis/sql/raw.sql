-- Question: what was measured, and what was planned?
-- The raw views of one run. `raybench_run` is the run's folder (default: the current one). Files are those that the
-- manifest lists, never a glob over the folders: a file that no manifest entry names was never committed.
--
-- Views: samples, visits, loads, failures, attempts (columns as in the Parquet files), run, configurations, comparisons, timed.
--   samples        one request: visit, block, configuration, round, task, adapter, request, phase, turn, sequence,
--                  tokens, started_ns, host_ns, wall_ns, device_ns, switch_ns
--   run            one row: run_id, plan, design, rounds (at most, where until_halfwidth is given), requests, margin
--                  (0.02 is 2 %), until_halfwidth (0.01 is 1 %; null for a fixed length)
--   configurations one configuration: name, strategy, role (what it is compared as: its strategy unless the plan
--                  says otherwise), deployment (its row in the study's table), seed, tasks,
--                  adapters, block (where its own samples are)
--   comparisons    one configuration against one reference configuration: configuration, deployment, block,
--                  reference_strategy, reference, reference_block, via
--   timed          the samples that enter the tables, with the visit's device; durations in nanoseconds
SET VARIABLE raybench_run = coalesce(getvariable('raybench_run'), '.');

-- An entry without files stands first, so that a run without a commit is an empty run and not an error.
SET VARIABLE raybench_manifest = [getvariable('raybench_run') || '/schema/manifest.json']
    || (SELECT coalesce(list(file ORDER BY file), []) FROM glob(getvariable('raybench_run') || '/manifest/*.json'));

CREATE OR REPLACE VIEW raybench_files AS
SELECT f.table AS name, getvariable('raybench_run') || '/' || f.path AS path
FROM (
    SELECT unnest(files) AS f
    FROM read_json(
        getvariable('raybench_manifest'),
        columns = {files: 'STRUCT("table" VARCHAR, path VARCHAR)[]'}
    )
);

SET VARIABLE raybench_samples = [getvariable('raybench_run') || '/schema/samples.parquet']
    || (SELECT coalesce(list(path ORDER BY path), []) FROM raybench_files WHERE name = 'samples');
SET VARIABLE raybench_visits = [getvariable('raybench_run') || '/schema/visits.parquet']
    || (SELECT coalesce(list(path ORDER BY path), []) FROM raybench_files WHERE name = 'visits');
SET VARIABLE raybench_loads = [getvariable('raybench_run') || '/schema/loads.parquet']
    || (SELECT coalesce(list(path ORDER BY path), []) FROM raybench_files WHERE name = 'loads');
SET VARIABLE raybench_failures = [getvariable('raybench_run') || '/schema/failures.parquet']
    || (SELECT coalesce(list(path ORDER BY path), []) FROM raybench_files WHERE name = 'failures');
SET VARIABLE raybench_attempts = [getvariable('raybench_run') || '/schema/attempts.parquet']
    || (SELECT coalesce(list(path ORDER BY path), []) FROM raybench_files WHERE name = 'attempts');

CREATE OR REPLACE VIEW samples AS SELECT * FROM read_parquet(getvariable('raybench_samples'));
CREATE OR REPLACE VIEW visits AS SELECT * FROM read_parquet(getvariable('raybench_visits'));
CREATE OR REPLACE VIEW loads AS SELECT * FROM read_parquet(getvariable('raybench_loads'));
CREATE OR REPLACE VIEW failures AS SELECT * FROM read_parquet(getvariable('raybench_failures'));
CREATE OR REPLACE VIEW attempts AS SELECT * FROM read_parquet(getvariable('raybench_attempts'));

CREATE OR REPLACE VIEW raybench_description AS
SELECT *
FROM read_json(
    getvariable('raybench_run') || '/run.json',
    columns = {
        run_id: 'VARCHAR',
        plan: 'STRUCT(name VARCHAR, design VARCHAR, rounds INTEGER, requests INTEGER, margin DOUBLE,
            until_halfwidth DOUBLE)',
        configurations: 'STRUCT(name VARCHAR, strategy VARCHAR, role VARCHAR, deployment VARCHAR, seed BIGINT, tasks VARCHAR[],
            adapters VARCHAR[], block VARCHAR)[]',
        comparisons: 'STRUCT(configuration VARCHAR, block VARCHAR, reference_strategy VARCHAR, via VARCHAR,
            "references" STRUCT(configuration VARCHAR, block VARCHAR)[])[]'
    }
);

CREATE OR REPLACE VIEW run AS
SELECT run_id, plan.name AS plan, plan.design, plan.rounds, plan.requests, plan.margin, plan.until_halfwidth
FROM raybench_description;

CREATE OR REPLACE VIEW configurations AS
SELECT row_number() OVER () AS position, c.name, c.strategy, c.role, c.deployment, c.seed, c.tasks, c.adapters, c.block
FROM (SELECT unnest(configurations) AS c FROM raybench_description);

CREATE OR REPLACE VIEW comparisons AS
SELECT c.configuration, k.deployment, c.block, c.reference_strategy, r.configuration AS reference,
    r.block AS reference_block, c.via
FROM (
    SELECT c, unnest(c."references") AS r
    FROM (SELECT unnest(comparisons) AS c FROM raybench_description)
)
JOIN configurations AS k ON k.name = c.configuration;

CREATE OR REPLACE VIEW timed AS
SELECT s.*, v.device, v.device_name, v.started_at
FROM samples AS s
JOIN visits AS v USING (visit)
WHERE s.phase = 'timed';
