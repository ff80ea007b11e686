"""The serving side of the wall: worker processes, supervised, and what is asked of them."""
