"""What the tutorial of Olive tells its readers to type."""


def auto_opt_command(python, model, out, precision):
    """The tutorial's first method, as it is printed there."""
    return [
        str(python), "-m", "olive", "auto-opt", "--model_name_or_path", str(model), "--output_path", str(out),
        "--device", "cpu", "--provider", "CPUExecutionProvider", "--use_model_builder", "--precision", precision,
    ]  # fmt: skip


def find_models(folder):
    """Every folder below that holds a model for onnxruntime-genai."""
    return [file.parent for file in folder.rglob("genai_config.json") if any(file.parent.glob("*.onnx"))]
