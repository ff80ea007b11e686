"""The lazy Jacobian: NumPy and asyncio, no I/O, no HTTP, no torch."""
