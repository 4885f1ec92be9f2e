-- Question: what does bringing a deployment up cost in time and memory?
-- Columns (medians over the visits of its configurations):
--   deployment
--   load_ms, adapter_load_ms, merge_ms   reading the weights; reading the adapters; folding the adapter in
--   form_ms                              making what was loaded another form (null where none was asked for)
--   compile_ms                           compiling or capturing it (the longest: later visits find what was compiled on
--                                        their machine)
--   compile_mb_per_shape                 what that keeps, for each length (or bucket of lengths) that was served
--   weight_mb, adapter_mb                bytes of parameters, 10^6
--   resident_mb                          memory that stays after loading, by the device's own counter
--   load_peak_mb, forward_peak_mb        the most that loading, and one forward of the longest request, add to it
CREATE OR REPLACE VIEW memory_and_load AS
SELECT c.deployment,
    median(l.load_ns) / 1e6 AS load_ms,
    median(l.adapter_load_ns) / 1e6 AS adapter_load_ms,
    median(l.merge_ns) / 1e6 AS merge_ms,
    median(l.form_ns) / 1e6 AS form_ms,
    max(l.compile_ns) / 1e6 AS compile_ms,
    median(l.compile_bytes / l.compiled_shapes) / 1e6 AS compile_mb_per_shape,
    median(l.weight_bytes) / 1e6 AS weight_mb,
    median(l.adapter_bytes) / 1e6 AS adapter_mb,
    median(l.resident_bytes) / 1e6 AS resident_mb,
    median(l.load_peak_bytes) / 1e6 AS load_peak_mb,
    median(l.forward_peak_bytes) / 1e6 AS forward_peak_mb
FROM loads AS l
JOIN configurations AS c ON c.name = l.configuration AND c.block = l.block
GROUP BY c.deployment
ORDER BY min(c.position);
