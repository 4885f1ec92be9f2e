-- Question: which deployments are slower than a reference, and what do their configurations do more of, on average?
-- A row for each of `by_strategy` that says slower, in the order of the plan. more_bytes, more_operations,
-- more_instructions: means of what `attribution` has (0.28: 28 % more); extra_ms, dispatch_ms, device_ms: means, in
-- milliseconds; is_known: all of the configurations' extra time could be predicted.
SELECT s.deployment, s.reference_strategy, s.reference_deployment, s.claim,
    avg(a.more_bytes ORDER BY c.position) AS more_bytes, avg(a.more_operations ORDER BY c.position) AS more_operations,
    avg(a.more_instructions ORDER BY c.position) AS more_instructions, avg(a.extra_ms ORDER BY c.position) AS extra_ms,
    avg(a.dispatch_ms ORDER BY c.position) AS dispatch_ms, avg(a.device_ms ORDER BY c.position) AS device_ms,
    count(a.dispatch_ms + a.device_ms) = count(*) AS is_known
FROM by_strategy AS s
JOIN attribution AS a USING (deployment, reference_strategy, measure)
JOIN configurations AS c ON c.name = a.configuration
WHERE s.clock = 'wall' AND s.measure = 'end_to_end' AND s.verdict = 'slower'
GROUP BY s.deployment, s.reference_strategy, s.reference_deployment, s.claim
ORDER BY min(c.position), s.reference_strategy;
