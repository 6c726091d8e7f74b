-- What sets the runs of a trace by one stage apart, the keys with more than one value among them, without those in `but`: `FROM run_differences('sqlite', 'ftl.page_mapped')`.
CREATE MACRO run_differences(trace_name, stage_name, but := []::VARCHAR[]) AS TABLE
  WITH
    those AS (
      SELECT runs.run, runs.config
      FROM runs
      -- by content: a run that is kept already keeps the name that the trace had first
      WHERE runs.stage = stage_name
        AND runs.trace_hash IN (SELECT traces.trace_hash FROM traces WHERE traces.trace = trace_name)
    ),
    settings AS (SELECT those.run, each.key, each.value FROM those, json_each(those.config) AS each),
    varied AS (
      SELECT key FROM settings
      WHERE NOT list_contains(but, key)
      GROUP BY key HAVING count(DISTINCT value::VARCHAR) > 1
    )
  SELECT
    those.run,
    -- of a list, as sizes of many volumes are, the first value, how many there are and, of numbers, their sum
    coalesce(string_agg(
      settings.key || '=' || CASE
        WHEN json_array_length(settings.value) > 3
        THEN (settings.value ->> 0) || ';... (' || json_array_length(settings.value) || ' values'
          || coalesce(', sum ' || list_sum(TRY_CAST(settings.value AS DOUBLE[]))::DECIMAL(38, 0)::VARCHAR, '') || ')'
        WHEN json_type(settings.value) = 'ARRAY' THEN array_to_string(settings.value::VARCHAR[], ';')
        ELSE settings.value ->> '$'
      END, ', ' ORDER BY settings.key
    ) FILTER (varied.key IS NOT NULL), '') AS settings
  FROM those
  LEFT JOIN settings ON settings.run = those.run
  LEFT JOIN varied ON varied.key = settings.key
  GROUP BY those.run
