"""What runs in a worker process: graphs become programs, points and rows. Owns nothing that cannot be sent again."""
