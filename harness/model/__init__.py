"""A source model and a recipe in, a proven ONNX artifact out."""
