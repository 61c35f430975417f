"""Models and data sets on disk as bundles: lists of files named by digest, as POST /api/v1/jobs takes them.

Nothing of what a file holds is read but its bytes, for their digest. What belongs to a model is told by its name, as
the hone command does; only a model that says itself which other files it has (external data of ONNX) needs them named.
"""
from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from .errors import NotFound, Rejected

AnyPath = Union[str, "os.PathLike[str]"]

PIECE = 1 << 20
_MOST_FILES = 10_000
_MOST_ENTRIES = 1_000_000
_MOST_PATH_BYTES = 1024
_MOST_PART_BYTES = 255
_MOST_DEPTH = 32

# A model's format by its file's name, and the weights beside it.
_MODELS: Dict[str, Tuple[str, str]] = {
    ".onnx": ("onnx", ""),
    ".xml": ("openvino_ir", ".bin"),
    ".tflite": ("tflite", ""),
    ".pdmodel": ("paddle", ".pdiparams"),
    ".pb": ("tensorflow", ""),
    ".gguf": ("gguf", ""),
}
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
_CHECKPOINT = (".json", ".safetensors", ".jinja")
_CHECKPOINT_NAMES = ("merges.txt", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt")


@dataclass(frozen=True)
class DataSet:
    """A data set and what of it is used. None: as the recipe says.

    path:    an .npz file, a folder of test_data_set_N folders, or a folder of images.
    start:   the first sample, counted from 0.
    samples: how many; 0 takes all from `start`.
    """

    path: AnyPath
    start: Optional[int] = None
    samples: Optional[int] = None


@dataclass(frozen=True)
class LocalFile:
    """A file of a bundle, where it lies, and what it was when it was read."""

    path: str
    where: Path
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Bundle:
    format: str
    main: str
    files: List[LocalFile] = field(default_factory=list)

    def document(self) -> Dict[str, Any]:
        files = [{"path": one.path, "digest": one.digest, "size_bytes": one.size_bytes} for one in self.files]
        return {"format": self.format, "main": self.main, "files": files}


def is_safe_relative_path(path: str) -> bool:
    """Whether a path of a bundle stays beneath the folder it is put in, on every system."""
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    if not 0 < size <= _MOST_PATH_BYTES or any(ord(letter) < 0x20 or letter in "\x7f\\" for letter in path):
        return False
    parts = path.split("/")
    return not (":" in parts[0] and os.name == "nt") and all(
        part not in ("", ".", "..") and len(part.encode("utf-8")) <= _MOST_PART_BYTES for part in parts)


def measured(where: Path) -> Tuple[str, int]:
    """Digest and size of a file, which is opened once."""
    try:
        with open(where, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Rejected(f"{where} is no file")
            hasher = hashlib.sha256()
            size = 0
            for piece in iter(lambda: file.read(PIECE), b""):
                hasher.update(piece)
                size += len(piece)
    except FileNotFoundError:
        raise NotFound(f"{where} is not there", "Keep every file of a model beside it.") from None
    except IsADirectoryError:
        raise Rejected(f"{where} is a folder, not a file") from None
    if size == 0:
        raise Rejected(f"{where} is empty")
    return "sha256:" + hasher.hexdigest(), size


def _describe(folder: Path, relative: str, may_be_link: bool) -> LocalFile:
    where = folder / relative
    if not is_safe_relative_path(relative):
        raise Rejected(f"{relative!r} cannot be the path of a file of a bundle",
                       "Paths lie beneath the folder, have at most 1024 bytes of UTF-8, and no control characters.")
    if not may_be_link:
        _refuse_links(folder, relative)
    digest, size = measured(where)
    return LocalFile(relative, where, digest, size)


def _refuse_links(folder: Path, relative: str) -> None:
    at = folder
    for part in relative.split("/"):
        at = at / part
        if at.is_symlink():
            raise Rejected(f"{at} is a symbolic link", "Give the file itself.")


def _bundle(form: str, main: str, folder: Path, paths: Iterable[str], named: str = "") -> Bundle:
    """`named`: the file that a person named, which may be a link."""
    ordered = sorted(set(paths), key=lambda path: path.encode("utf-8", "surrogateescape"))
    if len(ordered) > _MOST_FILES:
        raise Rejected(f"{folder} holds more than {_MOST_FILES} files of it", "hone submit takes more.")
    return Bundle(form, main, [_describe(folder, path, path == named) for path in ordered])


def _beneath(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> List[str]:
    """Relative paths of the files that are wanted. What is hidden is left out; links are refused."""
    found: List[str] = []
    entries = 0
    for at, folders, files in os.walk(folder, onerror=_raise):
        relative = Path(at).relative_to(folder)
        folders[:] = [name for name in folders if not name.startswith(".")]
        entries += len(folders) + len(files)
        if entries > _MOST_ENTRIES or len(relative.parts) > _MOST_DEPTH:
            raise Rejected(f"{folder} holds more than {_MOST_ENTRIES} entries or is deeper than {_MOST_DEPTH} folders")
        for name in folders:
            if (Path(at) / name).is_symlink():
                raise Rejected(f"{Path(at) / name} is a symbolic link", "Give the folder itself.")
        for name in files:
            path = PurePosixPath(*relative.parts, name)
            if not name.startswith(".") and wanted(path):
                found.append(str(path))
    return found


def _raise(error: OSError) -> None:
    raise error


def _named(path: AnyPath, what: str) -> Path:
    named = Path(os.path.abspath(path))
    if not named.exists():
        raise NotFound(f"{what} {os.fspath(path)} is not there")
    return named


def _is_of_checkpoint(path: PurePosixPath) -> bool:
    if path.name.startswith("consolidated") or len(path.parts) > 2:
        return False
    if len(path.parts) == 2:
        return path.name == "config.json"
    return path.suffix.lower() in _CHECKPOINT or path.name in _CHECKPOINT_NAMES


def _model_folder(folder: Path) -> Bundle:
    if (folder / "saved_model.pb").is_file():
        return _bundle("tensorflow", "", folder, _beneath(folder, lambda path: True))
    if (folder / "config.json").is_file():
        paths = _beneath(folder, _is_of_checkpoint)
        full = [path for path in paths if (folder / path).stat().st_size > 0]  # An empty template says nothing.
        return _bundle("checkpoint", "config.json", folder, full)
    raise _unknown_model(folder)


def _unknown_model(path: Path) -> Rejected:
    return Rejected(
        f"{path} is no model whose format hone knows by its name",
        "Give a .onnx, .xml (with .bin), .tflite, .pdmodel (with .pdiparams), .pb or .gguf file, a TensorFlow "
        "SavedModel folder, or a folder with config.json and safetensors.")


def model_bundle(path: AnyPath, external_files: Sequence[str] = ()) -> Bundle:
    """The bundle of a model and of what belongs to it by its name.

    external_files: paths, relative to the model's folder, of what an .onnx file names itself.
    """
    named = _named(path, "model")
    if named.is_dir():
        if external_files:
            raise Rejected(f"{named} is a folder; external files are those of an .onnx file")
        return _model_folder(named)
    form, companion = _MODELS.get(named.suffix.lower(), ("", ""))
    if not form:
        raise _unknown_model(named)
    paths = [named.name]
    if companion:
        beside = named.with_suffix(companion)
        if not beside.exists():
            raise NotFound(f"{beside} is not there", f"Keep {beside.name} beside {named.name}.")
        if beside.stat().st_size > 0:  # A model without weights has an empty one.
            paths.append(beside.name)
    if external_files and form != "onnx":
        raise Rejected(f"{named} is no .onnx file, so it has no external files")
    return _bundle(form, named.name, named.parent, [*paths, *external_files], named.name)


def _is_numbered(name: str, prefix: str, suffix: str) -> bool:
    number = name[len(prefix):len(name) - len(suffix)]
    return name.startswith(prefix) and name.endswith(suffix) and number.isdecimal() and number.isascii()


def _is_onnx_test_data(path: PurePosixPath) -> bool:
    return (len(path.parts) == 2 and _is_numbered(path.parts[0], "test_data_set_", "")
            and (_is_numbered(path.name, "input_", ".pb") or _is_numbered(path.name, "output_", ".pb")))


def _is_image(path: PurePosixPath) -> bool:
    return path.suffix.lower() in _IMAGES


def data_bundle(path: AnyPath) -> Bundle:
    """The bundle of a data set."""
    named = _named(path, "data set")
    if named.is_dir():
        tests = _beneath(named, _is_onnx_test_data)
        if tests:
            return _bundle("onnx_test_data", "", named, tests)
        images = _beneath(named, lambda one: _is_image(one) or str(one) == "labels.csv")
        if any(_is_image(PurePosixPath(one)) for one in images):
            return _bundle("images", "", named, images)
        raise Rejected(f"{named} is no data set: it holds neither test_data_set_N folders nor images",
                       "Give an .npz file, a folder that holds test_data_set_0, or a folder of png, jpg or bmp images.")
    if named.suffix.lower() != ".npz":
        raise Rejected(f"{named} is no data set: its name does not end in .npz",
                       "Give an .npz file, a folder that holds test_data_set_0, or a folder of images.")
    return _bundle("npz", named.name, named.parent, [named.name], named.name)

