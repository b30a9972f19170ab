-- Replies: this server's clock.
select now_us()
