-- Question: how long does a round take, on as many devices as the run had?
SELECT sum(total_ns) / 1e9 / count(DISTINCT host || '/' || device) / nullif(count(DISTINCT round), 0) AS seconds
FROM visits;
