"""What crosses the wall between the serving process and a worker."""
