"""``python -m supernet_onnx`` is ``supernet-onnx``."""

from supernet_onnx.cli import main

if __name__ == "__main__":
    main()
