"""ONNX operators as torch functions, one small pure function each, in files by family.

Importing this package registers every kernel. A kernel's signature is its specification (see `registry`).
"""
