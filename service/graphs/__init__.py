"""Three ways to say a graph, one validated ONNX model. Knows onnx, not torch."""
