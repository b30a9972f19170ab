-- Part of insert.sql: no row has an ancestor.
cross join (select null::text as root, 0 as depth) as ancestor
