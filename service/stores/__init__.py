"""What is durable: graphs and sessions."""
