-- Write amplification of one trace by spare and victim policy beside its closed form, newest run of each configuration; `settings` tells what else sets runs apart: `FROM wa_curve('sqlite')`.
CREATE MACRO wa_curve(trace_name) AS TABLE
  SELECT
    run_config(run, 'victim') AS victim,
    run_config(run, 'spare')::DOUBLE AS spare,
    volume, effective_spare, host_programs, gc_programs, wa, wa_steady, wa_theory_effective, settings, run
  FROM ftl_summary
  JOIN runs USING (run)
  JOIN run_differences(trace_name, 'ftl.page_mapped', ['victim', 'spare']) USING (run)
  QUALIFY row_number() OVER (PARTITION BY config, volume ORDER BY began DESC) = 1
  ORDER BY victim, spare, settings, volume
