-- Question: which files does the manifest list, and are they what was committed?
-- The first part of a run's views.sql; raybench itself checks the same, and more, before it reads a run.
-- `raybench_run` is the run's folder (default: the current one). Only what the manifest lists is read: other files were
-- never committed. One that is missing, or not what was committed, ends this script with an error that names it.
SET VARIABLE raybench_run = coalesce(getvariable('raybench_run'), '.');

-- What comes next reads only what was checked before. DuckDB takes a folder `name=value` above a file for a column,
-- which read_blob cannot be told not to; and glob() with a star shows files alone, no pipe that a reader would wait for.
SET VARIABLE raybench_checked = (
    SELECT CASE
        WHEN regexp_matches(getvariable('raybench_run'), '(^|/)(content|filename|size|last_modified)=')
            THEN error('raybench: ' || getvariable('raybench_run') || ': read it from inside, not by this path')
        WHEN count(*) = 0 THEN error('raybench: ' || getvariable('raybench_run') || '/run.json: no such file')
    END
    FROM glob(getvariable('raybench_run') || '/*.json')
    WHERE parse_filename(file) = 'run.json'
);

SET VARIABLE raybench_description = (
    SELECT json
    FROM read_json(
        getvariable('raybench_run') || '/run.json',
        columns = {json: 'JSON'}, format = 'unstructured', records = false, hive_partitioning = false
    )
);

-- The description stands first, so that a run without a commit is an empty run and not an error. A document of compacted
-- commits stands for entries, which do not count any more where they are still there. The manifest is looked at first: an
-- entry that its driver removes before that is in a document by then.
SET VARIABLE raybench_manifest = (
    SELECT coalesce(list(file ORDER BY file), []) FROM glob(getvariable('raybench_run') || '/manifest/*.json')
);
SET VARIABLE raybench_compacted = [getvariable('raybench_run') || '/run.json']
    || (SELECT coalesce(list(file ORDER BY file), []) FROM glob(getvariable('raybench_run') || '/compacted/*.json'));

CREATE OR REPLACE TEMP TABLE raybench_documents AS
SELECT parse_filename(filename) AS entry, first, sequence, schema_version, files
FROM read_json(
    getvariable('raybench_compacted'),
    columns = {
        first: 'BIGINT', sequence: 'BIGINT', schema_version: 'BIGINT',
        files: 'STRUCT("table" VARCHAR, path VARCHAR, sha256 VARCHAR, bytes BIGINT)[]'
    },
    filename = true, hive_partitioning = false
)
WHERE parse_filename(filename) <> 'run.json';

SET VARIABLE raybench_replaced = (SELECT coalesce(max(sequence), 0) FROM raybench_documents);

SET VARIABLE raybench_manifest = [getvariable('raybench_run') || '/run.json'] || list_filter(
    getvariable('raybench_manifest'),
    lambda file: coalesce(try_cast(left(parse_filename(file), 8) AS BIGINT) > getvariable('raybench_replaced'), true)
);

CREATE OR REPLACE TEMP TABLE raybench_entries AS
SELECT parse_filename(filename) AS entry, sequence AS first, sequence, schema_version, files
FROM read_json(
    getvariable('raybench_manifest'),
    columns = {
        sequence: 'BIGINT', schema_version: 'BIGINT',
        files: 'STRUCT("table" VARCHAR, path VARCHAR, sha256 VARCHAR, bytes BIGINT)[]'
    },
    filename = true, hive_partitioning = false
)
WHERE parse_filename(filename) <> 'run.json';

CREATE OR REPLACE TEMP TABLE raybench_files AS
SELECT entry, first, sequence, f."table" AS name, f.path, f.sha256, f.bytes
FROM (
    SELECT 'manifest/' || entry AS entry, first, sequence, unnest(files) AS f FROM raybench_entries
    UNION ALL
    SELECT 'compacted/' || entry AS entry, first, sequence, unnest(files) AS f FROM raybench_documents
);

SET VARIABLE raybench_checked = (
    SELECT error('raybench: ' || min(problem) || '; restore it from a copy')
    FROM (
        SELECT 'manifest/' || entry || ': not the entry that its name says' AS problem
        FROM raybench_entries
        WHERE NOT coalesce(
            entry = printf('%08d.json', sequence)
                AND sequence <= getvariable('raybench_replaced') + (SELECT count(*) FROM raybench_entries)
                AND schema_version IN (2, 3, 4, 5, 6, 7, 8, 9, 10), false)
        UNION ALL
        SELECT 'compacted/' || entry || ': does not follow the document before it' AS problem
        FROM (
            SELECT *, lag(sequence, 1, 0) OVER (ORDER BY entry) AS last, row_number() OVER (ORDER BY entry) AS number
            FROM raybench_documents
        )
        WHERE NOT coalesce(
            entry = printf('%08d.json', number) AND first = last + 1 AND first <= sequence AND schema_version IN (5, 6, 7, 8, 9, 10), false)
        UNION ALL
        SELECT entry || ': lists ' || coalesce(path, 'a file without a path') || ', which cannot be'
        FROM raybench_files
        WHERE NOT coalesce(
            regexp_full_match(path, '(samples|visits|loads|failures|attempts|counts|calibrations)/[0-9]{8}-[0-9a-f]{8}\.parquet')
                AND starts_with(path, name || '/')
                AND try_cast(regexp_extract(path, '/([0-9]{8})-', 1) AS BIGINT) BETWEEN first AND sequence
                AND sha256 IS NOT NULL AND bytes IS NOT NULL, false)
        UNION ALL
        SELECT path || ': listed by the manifest, and no such file'
        FROM raybench_files
        WHERE path NOT IN (
            SELECT regexp_extract(file, '[a-z]+/[^/]+$') FROM glob(getvariable('raybench_run') || '/*/*.parquet')
        )
    )
    HAVING count(*) > 0
);

SET VARIABLE raybench_listed = [getvariable('raybench_run') || '/run.json']
    || (SELECT coalesce(list(getvariable('raybench_run') || '/' || path), []) FROM raybench_files);

SET VARIABLE raybench_checked = (
    SELECT error('raybench: ' || min(path || ': ' || size || ' bytes, ' || bytes || ' were committed')
        || '; restore it from a copy')
    FROM read_blob(getvariable('raybench_listed')) AS found
    JOIN raybench_files AS listed ON listed.path = regexp_extract(found.filename, '[a-z]+/[^/]+$')
    WHERE found.size <> listed.bytes
    HAVING count(*) > 0
);

SET VARIABLE raybench_checked = (
    SELECT error('raybench: ' || min(path) || ': not the bytes that were committed (SHA-256 differs); restore it from a copy')
    FROM read_blob(getvariable('raybench_listed')) AS found
    JOIN raybench_files AS listed ON listed.path = regexp_extract(found.filename, '[a-z]+/[^/]+$')
    WHERE sha256(found.content) <> listed.sha256
    HAVING count(*) > 0
);

SET VARIABLE raybench_samples = (
    SELECT list(getvariable('raybench_run') || '/' || path ORDER BY path) FROM raybench_files WHERE name = 'samples'
);
SET VARIABLE raybench_visits = (
    SELECT list(getvariable('raybench_run') || '/' || path ORDER BY path) FROM raybench_files WHERE name = 'visits'
);
SET VARIABLE raybench_loads = (
    SELECT list(getvariable('raybench_run') || '/' || path ORDER BY path) FROM raybench_files WHERE name = 'loads'
);
SET VARIABLE raybench_failures = (
    SELECT list(getvariable('raybench_run') || '/' || path ORDER BY path) FROM raybench_files WHERE name = 'failures'
);
SET VARIABLE raybench_attempts = (
    SELECT list(getvariable('raybench_run') || '/' || path ORDER BY path) FROM raybench_files WHERE name = 'attempts'
);
SET VARIABLE raybench_counts = (
    SELECT list(getvariable('raybench_run') || '/' || path ORDER BY path) FROM raybench_files WHERE name = 'counts'
);
SET VARIABLE raybench_calibrations = (
    SELECT list(getvariable('raybench_run') || '/' || path ORDER BY path) FROM raybench_files WHERE name = 'calibrations'
);
