-- Question: what of a run is compared with another run?
-- `compared` (configuration, task, request) comes from compare/pairing.py; the views that build on `timed` see no more.
-- Columns: those of `timed`.
CREATE OR REPLACE TABLE compared_samples AS SELECT * FROM timed SEMI JOIN compared USING (configuration, task, request);
CREATE OR REPLACE VIEW timed AS FROM compared_samples;
