"""Graphs that run without tfcli: ONNX, ExecuTorch and torch.export."""
