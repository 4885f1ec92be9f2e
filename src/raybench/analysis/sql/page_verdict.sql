-- Question: which ratios of visits is a verdict drawn from, and the two mean times that each is of? A page shows this with
-- the names of a deployment, its references and a measure in the braces.
SELECT configuration, reference_strategy, round, device, n, compared_ms, reference_ms, exp(wall) AS ratio
FROM visit_ratios
WHERE deployment IN ({deployments}) AND reference_strategy IN ({references}) AND measure = {measure}
ORDER BY configuration, reference_strategy, round;
