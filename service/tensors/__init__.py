"""Dense arrays as the contract names them: dtypes, the JSON form, files."""
