-- One key of a run's configuration, as text (NULL where the stage has no such key): `run_config(run, 'spare')`.
CREATE MACRO run_config(run_id, key) AS (
  -- the alias keeps `run_config(runs.run, ...)` from meaning the inner table
  SELECT json_extract_string(looked_up.config, '$."' || key || '"') FROM runs AS looked_up WHERE looked_up.run = run_id
)
