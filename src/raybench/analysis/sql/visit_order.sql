-- Question: in which order were the visits begun? Row n is the visit that `sample_times` calls n.
-- Columns: visit, device, started (seconds since 1970)
SELECT visit, device, epoch(started_at) AS started
FROM visits
ORDER BY started_at, visit;
