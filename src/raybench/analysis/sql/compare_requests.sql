-- Question: what of a run is compared with another run?
-- `compared` (configuration, task, request) comes from compare/pairing.py; the views that build on `timed` see no more.
-- Columns: those of `timed`; decoding steps by the wall clock only, since the others are compared by nobody.
CREATE OR REPLACE TABLE compared_samples AS
SELECT * REPLACE (NULL::BIGINT[] AS decode_host_ns, NULL::BIGINT[] AS decode_device_ns)
FROM timed SEMI JOIN compared USING (configuration, task, request);
CREATE OR REPLACE VIEW timed AS FROM compared_samples;
