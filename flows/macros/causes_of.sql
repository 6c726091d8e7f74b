-- Every row of a trace that something led to, with its number, what led to it, and how many nanoseconds before: `FROM causes_of('vm', 'block')`.
CREATE MACRO causes_of(trace_name, kind_name) AS TABLE
  WITH
    -- rows are numbered as they stand in the trace's file: views keep that order
    numbered AS (
      SELECT row_number() OVER () - 1 AS "row", its.* FROM query_table(kind_name) AS its WHERE its.trace = trace_name
    ),
    instants AS (
      SELECT 'block' AS kind, row_number() OVER () - 1 AS "row", time FROM block WHERE trace = trace_name
      UNION ALL SELECT 'memory', row_number() OVER () - 1, time FROM memory WHERE trace = trace_name
      UNION ALL SELECT 'config', row_number() OVER () - 1, time FROM config WHERE trace = trace_name
      UNION ALL SELECT 'dma', row_number() OVER () - 1, time FROM dma WHERE trace = trace_name
      UNION ALL SELECT 'text', row_number() OVER () - 1, time FROM text WHERE trace = trace_name
      UNION ALL SELECT 'message', row_number() OVER () - 1, time FROM message WHERE trace = trace_name
    )
  SELECT
    numbered.*,
    led.cause_kind,
    led.cause_row,
    -- origin + time is the same instant in all traces of one world
    (own.origin + numbered.time) - (other.origin + instants.time) AS later
  FROM trace_causes AS led
  JOIN numbered ON numbered."row" = led."row"
  JOIN instants ON instants.kind = led.cause_kind AND instants."row" = led.cause_row
  JOIN traces AS own ON own.trace = trace_name AND own.kind = kind_name
  JOIN traces AS other ON other.trace = trace_name AND other.kind = led.cause_kind
  WHERE led.trace = trace_name AND led.kind = kind_name
  ORDER BY numbered."row", led.cause_kind, led.cause_row
