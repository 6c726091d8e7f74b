-- An operation's name: `op_name(op)`.
CREATE MACRO op_name(op) AS CASE op
  WHEN 0 THEN 'read' WHEN 1 THEN 'write' WHEN 2 THEN 'discard' WHEN 3 THEN 'flush' WHEN 4 THEN 'write zeroes'
  WHEN 5 THEN 'zone append' WHEN 6 THEN 'zone open' WHEN 7 THEN 'zone close' WHEN 8 THEN 'zone finish'
  WHEN 9 THEN 'zone reset' WHEN 10 THEN 'zone offline' WHEN 11 THEN 'zone report'
  WHEN 12 THEN 'zone set extension' WHEN 13 THEN 'zone flush zrwa' WHEN 14 THEN 'zone manage' ELSE 'unknown'
END
