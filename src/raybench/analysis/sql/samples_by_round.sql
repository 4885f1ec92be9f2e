-- Question: how many timed samples has each round? Asked by tables.py, to take some at a time.
-- Columns: number (the round), n
SELECT round AS number, sum(n)::BIGINT AS n
FROM raybench_served
GROUP BY round
ORDER BY number;
