-- Question: how long does a request take in each configuration?
-- Columns:
--   configuration, deployment
--   n                          timed samples, of the configuration's own block
--   mean_ms, median_ms, p95_ms, sd_ms   wall time of a request (p95: linear interpolation; null below
--                            130 samples, which cannot carry it: see the table percentiles)
--   host_ms                    mean time until the call returned: Python and dispatch
--   device_ms                  mean time between two device events (null on a CPU)
--   requests_per_second        one request after the other, choosing its adapter included (null under a load, as
--                            tokens_per_second: see the table goodput)
--   batch                      prompts of a request, served together
--   ttft_ms, tpot_ms           of a language model: mean wall time of the prefill, and over requests of their mean
--                            decoding step (null for a classifier)
--   output_tokens              generated for each prompt (mean; null for a classifier)
--   tokens_per_second          generated for all prompts of the batch, over wall time (null for a classifier)
CREATE OR REPLACE VIEW by_configuration AS
SELECT c.name AS configuration, c.deployment, coalesce(t.n, 0) AS n, t.mean_ms, t.median_ms, t.p95_ms, t.sd_ms, t.host_ms,
    t.device_ms, CASE WHEN c.load IS NULL THEN t.requests_per_second END AS requests_per_second, c.batch, t.ttft_ms, t.tpot_ms,
    t.output_tokens, CASE WHEN c.load IS NULL THEN t.tokens_per_second END AS tokens_per_second
FROM configurations AS c
LEFT JOIN raybench_times AS t USING (position)
ORDER BY c.position;
