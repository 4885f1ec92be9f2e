-- Question: how many timed samples has each configuration in its own block? Asked by tables.py, to take some at a
-- time, those of a block together.
-- Columns: number (its position, as in `configurations`), n
SELECT c.position AS number, sum(s.n)::BIGINT AS n
FROM raybench_served AS s
JOIN configurations AS c ON c.name = s.configuration AND c.block = s.block
GROUP BY c.position
ORDER BY any_value(c.block), number;
