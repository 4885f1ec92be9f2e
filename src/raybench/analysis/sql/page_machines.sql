-- Question: on what were visits measured?
-- Columns:
--   device_name, host                the device's model, and its machine
--   devices, visits                  how many such devices, and visits on them
--   environments, environment        how many different things visits said of themselves, and what the first said (JSON)
SELECT device_name, host, count(DISTINCT device) AS devices, count(*) AS visits,
    count(DISTINCT environment) AS environments, arg_min(environment, (started_at, visit)) AS environment
FROM visits
GROUP BY device_name, host
ORDER BY visits DESC, device_name, host;
