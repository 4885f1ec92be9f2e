-- Question: which requests did each configuration serve in each round, and how long were they?
-- Two runs whose rows are equal here served the same; only where they are not are requests looked at one by one
-- (compare_listed.sql). Sums of hashes stand for sets, as in visit_ratios.sql.
-- Columns:
--   configuration, round, block
--   n                  timed requests
--   requests           of which tasks and numbers
--   sizes              also of which lengths and batches
SELECT configuration, round, block, count(*) AS n,
    sum(hash(task, request))::VARCHAR AS requests,
    sum(hash(task, request, tokens, batch, coalesce(output_tokens, 0)))::VARCHAR AS sizes
FROM timed
GROUP BY configuration, round, block
ORDER BY configuration, round, block;
