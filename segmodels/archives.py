"""A dataset that comes as a ZIP or TAR file, unpacked where nothing of it can do harm.

Regular files alone come out, under the target and nowhere else: no links, no devices, no absolute paths. What an archive claims is
checked before a byte is written, what it holds while it is.
"""

import contextlib
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from segmodels.errors import DatasetError

MAX_RATIO = 100
"""Of what comes out to what went in: images hardly shrink, and masks not that far."""
FREE_BYTES = 64 * 2**20
"""So much may come out whatever the ratio: a few masks of one class are tiny."""
MAX_FILES = 5_000_000
MAX_DEPTH, MAX_PATH_BYTES = 32, 2048
BLOCK = 2**20
MAX_NAME_BYTES = 64 * 2**10
_NAMING = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


@contextlib.contextmanager
def opened(source: Path, *, work: Path) -> Iterator[Path]:
    """The folder of a dataset: the source itself or, if that is an archive, where it is unpacked for as long as it is needed.

    Args:
        work: where to unpack; the folder is removed afterwards.

    Raises:
        DatasetError: the archive is damaged, or holds what does not belong in a dataset.
    """
    if not source.is_file():
        yield source
        return
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=work) as folder:
        try:
            with _members(source) as members:
                _unpack(members, Path(folder), of=source)
        except DatasetError:
            raise
        except FileExistsError as error:
            raise DatasetError(f"{source}: has a file where another member needs a folder; pack the dataset again") from error
        except OSError as error:
            if error.errno is not None:
                raise  # the disk, not the archive
            raise DatasetError(f"{source}: is no sound ZIP or TAR file ({error}); pack the dataset again") from error
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
            raise DatasetError(f"{source}: is no sound ZIP or TAR file ({error}); pack the dataset again") from error
        yield _inner(Path(folder))


def _inner(folder: Path) -> Path:
    """Archives mostly hold one folder with everything in it."""
    while True:
        inside = [path for path in folder.iterdir() if path.name not in ("__MACOSX", ".DS_Store")]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in ("images", "annotations"):
            return folder
        folder = inside[0]


@contextlib.contextmanager
def _members(source: Path) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            yield _of_zip(archive, source)
    elif tarfile.is_tarfile(source):
        with tarfile.open(source, tarinfo=_BoundedInfo) as archive:
            yield _of_tar(archive, source)
            _refuse_cut_or_damaged(archive, source)
    else:
        raise DatasetError(f"{source}: is neither a folder nor a ZIP or TAR file; name the dataset's folder or its archive")


def _of_zip(archive: zipfile.ZipFile, source: Path) -> Iterator[Member]:
    files = [one for one in archive.infolist() if not one.is_dir()]
    _refuse_overlaps(files, source)
    for one in files:
        kind = stat.S_IFMT(one.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise DatasetError(f"{source}: {one.filename!r} is a link or a device; pack the files themselves")
        if one.flag_bits & 1:
            raise DatasetError(f"{source}: {one.filename!r} is encrypted; pack the dataset without a password")
        yield Member(one.filename, one.file_size, lambda one=one: archive.open(one))  # type: ignore[misc]


def _refuse_overlaps(files: list[zipfile.ZipInfo], source: Path) -> None:
    """Members that share bytes of the archive: how a few KB unpack to terabytes (zip bomb of overlapping files)."""
    end = 0
    for one in sorted(files, key=lambda one: one.header_offset):
        if one.header_offset < end:
            raise DatasetError(f"{source}: {one.filename!r} overlaps with another file of the archive; pack the dataset again")
        end = one.header_offset + 30 + one.compress_size


def _of_tar(archive: tarfile.TarFile, source: Path) -> Iterator[Member]:
    for one in archive:
        if one.isdir():
            continue
        if not one.isreg():
            raise DatasetError(f"{source}: {one.name!r} is a link or a device; pack the files themselves")

        def read(one: tarfile.TarInfo = one) -> IO[bytes]:
            file = archive.extractfile(one)
            assert file is not None
            return file

        yield Member(one.name, one.size, read)


class _BoundedInfo(tarfile.TarInfo):
    """Names may be long, but not as long as a file: they are read into memory."""

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _NAMING and self.size > MAX_NAME_BYTES:
            raise tarfile.ReadError(f"a name of {self.size} bytes")
        return super()._proc_member(tarfile_)  # type: ignore[misc, no-any-return]


def _refuse_cut_or_damaged(archive: tarfile.TarFile, source: Path) -> None:
    """What the library leaves out once it has the last file.

    A TAR file ends with zeros: one that was cut between two of its files is taken for whole. And what was compressed has its checksum at the
    very end, which nobody compares who stops before.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DatasetError(f"{source}: has no end: it was cut, or is still being written; copy it again")
    rest = 0
    while block := archive.fileobj.read(BLOCK):
        rest += len(block)
        if rest > FREE_BYTES:
            raise DatasetError(f"{source}: goes on long after its last file; pack the dataset again")


def _unpack(members: Iterator[Member], folder: Path, *, of: Path) -> None:
    allowed = max(FREE_BYTES, MAX_RATIO * of.stat().st_size)
    free = shutil.disk_usage(folder).free
    written, seen = 0, set[str]()
    for number, one in enumerate(members, start=1):
        if number > MAX_FILES:
            raise DatasetError(f"{of}: holds more than {MAX_FILES:,} files; pack it in parts")
        path = _inside(one.name, of)
        if str(path).casefold() in seen:
            raise DatasetError(f"{of}: holds {one.name!r} twice, or in two spellings; rename one")
        seen.add(str(path).casefold())
        if written + one.size > free:
            raise DatasetError(f"{of}: holds more than the {free / 1e9:.1f} GB that are free on the disk; free some space")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with one.open() as packed, (folder / path).open("xb") as file:
            while block := packed.read(BLOCK):
                written += len(block)
                if written > allowed:
                    raise DatasetError(
                        f"{of}: unpacks to more than {MAX_RATIO} times its size, as archives made to do harm do; unpack it yourself "
                        f"if you trust it, and name the folder"
                    )
                file.write(block)


def _inside(name: str, of: Path) -> PurePosixPath:
    """The path of a member in the target."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
        raise DatasetError(f"{of}: {name!r} would lie outside of the dataset; pack it anew")
    if len(path.parts) > MAX_DEPTH or len(name.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > 255 for part in path.parts):
        raise DatasetError(f"{of}: {name[:80]!r}... lies too deep, or has too long a name; pack it anew")
    return path
