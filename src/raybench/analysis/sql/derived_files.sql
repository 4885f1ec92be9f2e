-- Question: are the tables that statistics made what was written beside the samples?
-- Here too only what a list names and hashes is read. They can be made again: `raybench tables RUN` shows them from the
-- raw samples and reads none of these files.
SET VARIABLE raybench_checked = (
    SELECT CASE WHEN count(*) = 0 THEN error('raybench: tables/manifest.json: no such file; restore it from a copy') END
    FROM glob(getvariable('raybench_run') || '/tables/*.json')
    WHERE parse_filename(file) = 'manifest.json'
);

CREATE OR REPLACE TEMP TABLE raybench_derived AS
SELECT f.path, f.sha256, f.bytes
FROM (
    SELECT unnest(files) AS f
    FROM read_json(
        getvariable('raybench_run') || '/tables/manifest.json',
        columns = {files: 'STRUCT(path VARCHAR, sha256 VARCHAR, bytes BIGINT)[]'}, hive_partitioning = false
    )
);

SET VARIABLE raybench_checked = (
    SELECT error('raybench: ' || min(problem) || '; restore it from a copy')
    FROM (
        SELECT 'tables/manifest.json: lists ' || coalesce(path, 'a file without a path') || ', which cannot be' AS problem
        FROM raybench_derived
        WHERE NOT coalesce(
            regexp_full_match(path, 'tables/[a-z_]+\.parquet') AND sha256 IS NOT NULL AND bytes IS NOT NULL, false)
        UNION ALL
        SELECT coalesce(path, found) || ': '
            || CASE WHEN found IS NULL THEN 'listed by tables/manifest.json, and no such file' ELSE 'not listed by tables/manifest.json' END
        FROM raybench_derived
        FULL JOIN (
            SELECT regexp_extract(file, '[a-z]+/[^/]+$') AS found FROM glob(getvariable('raybench_run') || '/tables/*.parquet')
        ) ON found = path
        WHERE found IS NULL OR path IS NULL
    )
    HAVING count(*) > 0
);

SET VARIABLE raybench_listed = (
    SELECT list(getvariable('raybench_run') || '/' || path) FROM raybench_derived
);

SET VARIABLE raybench_checked = (
    SELECT error('raybench: ' || min(path || ': ' || size || ' bytes, ' || bytes || ' were written') || '; restore it from a copy')
    FROM read_blob(getvariable('raybench_listed')) AS found
    JOIN raybench_derived AS listed ON listed.path = regexp_extract(found.filename, '[a-z]+/[^/]+$')
    WHERE found.size <> listed.bytes
    HAVING count(*) > 0
);

SET VARIABLE raybench_checked = (
    SELECT error('raybench: ' || min(path) || ': not the bytes that were written (SHA-256 differs); restore it from a copy')
    FROM read_blob(getvariable('raybench_listed')) AS found
    JOIN raybench_derived AS listed ON listed.path = regexp_extract(found.filename, '[a-z]+/[^/]+$')
    WHERE sha256(found.content) <> listed.sha256
    HAVING count(*) > 0
);
