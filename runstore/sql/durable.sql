-- An acknowledged run is on disk, whatever the server's default says. Other
-- levels than off (local, remote_apply) are the operator's choice and stay.
select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'
