"""All of HTTP: what is asked becomes one call of `service.sessions`, what it answers becomes a representation."""
