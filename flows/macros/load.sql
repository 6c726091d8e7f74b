-- Requests and bytes of a block trace by window of so many seconds: `FROM load('sqlite', seconds := 0.5)`.
CREATE MACRO load(trace_name, seconds := 1.0) AS TABLE
  SELECT
    floor(time / 1e9 / seconds) * seconds AS second,
    count(*) FILTER (op = 0) AS reads,
    count(*) FILTER (op = 1) AS writes,
    coalesce(sum(length) FILTER (op = 0), 0)::UBIGINT AS bytes_read,
    coalesce(sum(length) FILTER (op = 1), 0)::UBIGINT AS bytes_written
  FROM block
  WHERE trace = trace_name
  GROUP BY second
  ORDER BY second
