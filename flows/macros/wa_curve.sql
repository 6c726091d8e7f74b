-- Write amplification of one trace by spare and victim policy beside its closed form, newest run of each configuration: `FROM wa_curve('sqlite')`.
CREATE MACRO wa_curve(trace_name) AS TABLE
  SELECT
    run_config(run, 'victim') AS victim,
    run_config(run, 'spare')::DOUBLE AS spare,
    volume, effective_spare, host_programs, gc_programs, wa, wa_steady, wa_theory_effective, run
  FROM ftl_summary JOIN runs USING (run)
  -- by content: a run that is kept already keeps the name that the trace had first
  WHERE trace_hash IN (SELECT trace_hash FROM traces WHERE traces.trace = trace_name)
  QUALIFY row_number() OVER (PARTITION BY config, volume ORDER BY began DESC) = 1
  ORDER BY victim, spare, volume
