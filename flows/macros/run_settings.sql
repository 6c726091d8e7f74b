-- Every key of every run's configuration, a row each: `FROM run_settings()`, `FROM run_settings('1f3a...')`.
CREATE MACRO run_settings(run_id := NULL) AS TABLE
  SELECT runs.run, runs.trace, runs.stage, each.key, each.value ->> '$' AS value
  FROM runs, json_each(runs.config) AS each
  WHERE run_id IS NULL OR runs.run = run_id
  ORDER BY runs.began, runs.run, each.key
