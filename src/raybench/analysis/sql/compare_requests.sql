-- Question: what of a run is compared with another run, where that is not all of it?
-- `compared_rounds` (configuration, round) and `compared_singly` (configuration, task, request) come from
-- compare/requests.py; the views that build on `timed` see no more.
-- No request is in both: numbers run on over the rounds.
-- Columns: those of `timed`.
CREATE OR REPLACE VIEW timed AS
FROM raybench_timed SEMI JOIN compared_rounds USING (configuration, round)
UNION ALL
FROM raybench_timed SEMI JOIN compared_singly USING (configuration, task, request);
