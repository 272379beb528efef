"""The names of methods and layouts, and which keys count beside which of them."""

from typing import Annotated, Literal

from tfcli.recipe.marks import Only
from tfcli.recipe.shared_keys import PYTHON_DOCS
from tfcli.recipe.spec import Role

GGUFMix = Literal[
    "Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"
]
"""Keys of `tfcli.checkpoints.gguf.mixes.MIXES`; a test compares them."""

CALIBRATING = ("gptq", "awq", "smoothquant")
CALIBRATED = Only(method=CALIBRATING)
"""For keys that only a method with calibration looks at."""
OF_GROUPS = ("rtn", "gptq", "hqq")
"""The methods whose values are levels of any bits, in groups."""
LEVELS = Only(method=(*OF_GROUPS, "awq", "bnb"))
"""For keys that those methods alone look at; the others are as their names say."""
GRID = Only(method=("rtn", "gptq", "awq"))
"""For keys of scales with zero points that are whole numbers."""
OF_GPTQ = Only(method=("gptq",))
"""For keys that only GPTQ looks at."""
BNB_4BIT = Only(method=("bnb",), bits=(4,))
HQQ = Only(method=("hqq",))
StorageType = Literal["uint8", "int8", "float16", "bfloat16", "float32"]
ComputeType = Literal["float32", "bfloat16", "float16"]
_LEVELS = (2, 3, 4, 8)
BITS = {
    "rtn": _LEVELS,
    "gptq": _LEVELS,
    "awq": _LEVELS,
    "bnb": (4, 8),
    "hqq": (1, *_LEVELS),
}
BNB_BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
CalibrationPath = Annotated[str, Role("input", unset=PYTHON_DOCS)]


MethodName = Literal["rtn", "gptq", "awq", "smoothquant", "bnb", "hqq", "fp8", "mxfp4", "nvfp4"]
"""How weights can be rounded; see `tfcli/quantize/methods`."""
LayoutName = Literal["gptq", "awq", "bitsandbytes", "hqq", "compressed-tensors", "mlx", "torchao"]
"""How quantized weights can be stored in a folder of tensors; see `models/layouts`."""
QuantizeLayout = Literal[
    "gptq", "awq", "bitsandbytes", "hqq", "compressed-tensors", "mlx", "torchao", "gguf"
]
"""The same, and one GGUF file."""
