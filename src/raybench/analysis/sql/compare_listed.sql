-- Question: which requests did some configurations serve in some rounds, one by one?
-- Parameters: configurations, and of each the round: lists of the same length.
-- Columns: configuration, task, request; tokens, batch, output_tokens (how long it was; of a classifier 0 of the last)
SELECT DISTINCT configuration, task, request, tokens, batch, coalesce(output_tokens, 0) AS output_tokens
FROM timed
SEMI JOIN (SELECT unnest($1) AS configuration, unnest($2) AS round) USING (configuration, round);
