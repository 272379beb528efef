"""Files of torch.save, opened for reading: tensors by name, read when they are asked for.

The pickle in such a file is read by a machine that runs nothing (`pickle_machine`); torch's own
loader is not used, and there is no way to turn to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.io.dtypes import stored_shape
from tfcli.checkpoints.io.file_tensor import FileTensor
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.legacy import read_legacy
from tfcli.checkpoints.torch.pickle.tree import describe, name_tensors
from tfcli.checkpoints.torch.pickle.values import PickleRefusedError, StoredTensor
from tfcli.checkpoints.torch.spans import SharedSpans, contiguous
from tfcli.checkpoints.torch.zip import read_zip
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"  # how every pickle of protocol 2 and later begins
# A view may repeat its values (torch's expand). What it unfolds to is bounded by its file's size,
# or by this for small files, in bytes.
_EXPANDED = 1 << 26


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as those of torch.save do: as a zip archive or as a pickle.

    False for what is no file, or cannot be read.
    """
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return False
    # The first bytes of safetensors are the length of a header, which begins with a brace.
    return head.startswith((ZIP, PICKLE)) and head[4:] != b"\0\0\0\0{"


class TorchFile:
    """One file of torch.save, zip or legacy, as its first bytes say.

    `tensors`, `metadata`, `tensor` and `read` are those of `SafetensorsFile`. Here `metadata` says
    in a few words what the file holds beside the tensors, `extras` has it as plain data by the same
    names, and `content` is the whole object with `StoredTensor` in the place of each tensor, for
    readers of formats that lay out their tensors in another way.

    Args:
        file: the file, or its path.
        part: where in it a zip archive begins and its length, in bytes, for containers that hold
            several; None: it is the whole file.

    Raises:
        WorkError: as `read_zip`, `read_legacy` and `name_tensors`; names the file.
    """

    def __init__(self, file: Path | OpenedFile, part: tuple[int, int] | None = None) -> None:
        self.opened = file if isinstance(file, OpenedFile) else OpenedFile(file)
        self.path, self._size = self.opened.path, self.opened.size
        if part is not None and not 0 <= part[0] <= part[0] + part[1] <= self._size:
            raise WorkError(
                f"bytes {part[0]} to {part[0] + part[1]} are outside of the {self._size} held",
                where=str(self.path),
            )
        with self.opened.reading() as reader:
            zipped = part is not None or reader.bytes(0, len(ZIP)) == ZIP
        self.content: Any = read_zip(self.opened, part) if zipped else read_legacy(self.opened)
        try:
            self._stored, self.extras = name_tensors(self.content)
        except PickleRefusedError as problem:
            raise WorkError(problem.what, where=str(self.path), fix=problem.fix) from None
        self.tensors = {name: self._info(name, stored) for name, stored in self._stored.items()}
        self.metadata = {name: describe(value) for name, value in self.extras.items()}
        self._spans = SharedSpans(self.opened, self._stored.values())

    def tensor(self, name: str) -> Callable[[], Tensor]:
        """What reads the tensor `name`: a `FileTensor`, where its values lie in their order.

        Raises:
            WorkError: no such tensor.
        """
        stored = self._stored.get(name)
        if stored is None:
            raise WorkError(f"holds no tensor {short(name)}", where=str(self.path))
        return self.reads(stored, short(name))

    def read(self, name: str) -> Tensor:
        """The tensor `name`.

        Tensors that overlap in the file, as tied ones do, lie in the same memory here as long as
        one of them is held.

        Raises:
            WorkError: no such tensor, a type that torch lacks, or the file changed.
        """
        return self.tensor(name)()

    def reads(self, stored: StoredTensor, shown: str = "a tensor") -> Callable[[], Tensor]:
        """As `tensor`, for one of `content`."""
        where = f"{self.path}: {shown}"
        whole = partial(self._spans.read, stored, where)
        if stored.stride != contiguous(stored.shape):
            return whole
        return FileTensor(self.opened, stored.start, stored.dtype, stored.shape, where, whole)

    def _info(self, name: str, stored: StoredTensor) -> TensorInfo:
        if stored.nbytes > max(stored.storage.nbytes, self._size, _EXPANDED):
            raise WorkError(
                f"shape of {short(name)}: {stored.nbytes} bytes are unfolded from "
                f"{stored.storage.nbytes}",
                where=str(self.path),
                fix="save it without its repeated values, as tensor.clone()",
            )
        shape = stored_shape(stored.dtype, stored.shape)
        return TensorInfo(name, stored.dtype, shape, self.path, stored.start, stored.nbytes)
