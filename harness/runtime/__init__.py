"""The `Session` protocol, onnxruntime-genai behind it, and its fake."""
