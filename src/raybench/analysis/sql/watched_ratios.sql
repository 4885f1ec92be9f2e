-- Question: what of visit_ratios is shown while a run goes on, and how many samples are there of each configuration?
-- The wall times of whole requests; what is not asked for is not computed.
CREATE OR REPLACE VIEW raybench_watched_ratios AS
SELECT configuration, reference_strategy, round, measure, device, wall, compared_ms, reference_ms,
    NULL::DOUBLE AS host, NULL::DOUBLE AS device_time, NULL::DOUBLE AS wall_median, NULL::DOUBLE AS host_median,
    NULL::DOUBLE AS device_median, NULL::DOUBLE AS wall_paired
FROM visit_ratios
WHERE measure = 'end_to_end';

CREATE OR REPLACE VIEW raybench_watched_samples AS
SELECT t.configuration, count(*) AS n
FROM timed AS t
JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block
GROUP BY t.configuration;
