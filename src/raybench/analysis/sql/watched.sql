-- Question: what did the visits measure that ended since a run that goes on was last looked at?
-- Of raybench_watched: some columns of samples, and the device of their visit. Everything that builds on timed follows.
CREATE OR REPLACE VIEW timed AS
SELECT w.* EXCLUDE (device) REPLACE (coalesce(w.batch, 1) AS batch), w.device, NULL::VARCHAR AS device_name,
    NULL::TIMESTAMPTZ AS started_at
FROM (FROM raybench_samples_columns UNION ALL BY NAME FROM raybench_watched) AS w
WHERE w.phase = 'timed';
