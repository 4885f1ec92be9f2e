-- Question: how many samples has each round, of any phase? Asked by sandbox.py, to take some at a time.
-- Columns: number (the round), n
SELECT round AS number, count(*) AS n
FROM samples
GROUP BY round
ORDER BY number;
