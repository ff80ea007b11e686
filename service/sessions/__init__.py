"""What a tenant owns, and the order of things."""
