-- Write amplification of all volumes of a trace together, newest run of each configuration; `settings` tells what else than victim and spare sets runs apart: `FROM wa_fleet('sqlite')`.
CREATE MACRO wa_fleet(trace_name) AS TABLE
  SELECT
    run_config(run, 'victim') AS victim,
    run_config(run, 'spare')::DOUBLE AS spare,
    count(*) AS volumes,
    sum(host_programs)::UBIGINT AS host_programs,
    sum(gc_programs)::UBIGINT AS gc_programs,
    sum(programs) / nullif(sum(host_programs), 0) AS wa,
    min(wa) AS wa_min,
    max(wa) AS wa_max,
    settings,
    run
  FROM ftl_summary
  JOIN runs USING (run)
  JOIN run_differences(trace_name, 'ftl.page_mapped', ['victim', 'spare']) USING (run)
  GROUP BY run, config, began, settings
  QUALIFY row_number() OVER (PARTITION BY config ORDER BY began DESC) = 1
  ORDER BY victim, spare, settings
