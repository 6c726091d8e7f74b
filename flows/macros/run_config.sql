-- One key of a run's configuration, as text (NULL where the stage has no such key): `run_config(run, 'spare')`.
CREATE MACRO run_config(run_id, key) AS (
  -- names of its own keep `run` and `runs.run`, as arguments, from meaning the inner table
  SELECT json_extract_string(looked_up_config, '$."' || key || '"')
  FROM (SELECT run AS looked_up_run, config AS looked_up_config FROM runs)
  WHERE looked_up_run = run_id
)
