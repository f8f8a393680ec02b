"""Archives: what belongs in a dataset comes out as it was, anything else is refused, and nothing is written elsewhere."""

import io
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segmodels import archives
from segmodels.errors import DatasetError


def unpacked(archive: Path) -> dict[str, bytes]:
    """What is in the folder that an archive is opened as; nothing is left of it afterwards."""
    work = archive.parent / "work"
    try:
        with archives.opened(archive, work=work) as root:
            return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    finally:
        assert not list(work.iterdir())
        assert {path.name.split(".")[0] for path in archive.parent.iterdir()} <= {"d", "work", "outside"}


FILES = {"images/one.png": b"an image", "masks/one.png": b"a mask", "classes.json": b"{}"}


def zipped(path: Path, files: dict[str, bytes], **how: Any) -> Path:
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "pack",
    [
        lambda folder, files: zipped(folder / "d.zip", files),
        lambda folder, files: zipped(folder / "d.zip", files, compression=zipfile.ZIP_DEFLATED),
        lambda folder, files: tarred(folder / "d.tar", files),
        lambda folder, files: tarred(folder / "d.tar.gz", files, "w:gz"),
        lambda folder, files: tarred(folder / "d.tar.xz", files, "w:xz"),
    ],
)
def test_what_was_packed_comes_out(pack: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path) -> None:
    archive = pack(tmp_path, FILES)
    assert unpacked(archive) == FILES
    archive.unlink()
    inside = {f"my data/{name}": content for name, content in FILES.items()}
    assert unpacked(pack(tmp_path, inside | {"__MACOSX/._x": b""})) == FILES


def test_a_folder_is_itself(tmp_path: Path) -> None:
    with archives.opened(tmp_path, work=tmp_path / "work") as root:
        assert root == tmp_path
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "name", ["../evil.png", "/tmp/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png", "a/" * 40 + "x"]
)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_paths_that_leave_the_folder_are_refused(pack: Callable[..., Path], name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="would lie outside of the dataset|lies too deep"):
        unpacked(pack(tmp_path / "d", FILES | {name: b"evil"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        entry = tarfile.TarInfo("images")
        entry.type, entry.linkname = kind, str(tmp_path / "outside")
        archive.addfile(entry)
        inside = tarfile.TarInfo("images/evil.png")  # through the link, if it were made
        inside.size = 4
        archive.addfile(inside, io.BytesIO(b"evil"))
    with pytest.raises(DatasetError, match="'images' is a link or a device; pack the files themselves"):
        unpacked(tmp_path / "d.tar")
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        entry = zipfile.ZipInfo("images/one.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DatasetError, match="'images/one.png' is a link or a device"):
        unpacked(tmp_path / "d.zip")


def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 2**20)
    zeros = {"images/one.png": bytes(3 * 2**20)}
    for archive in (
        zipped(tmp_path / "d.zip", zeros, compression=zipfile.ZIP_DEFLATED),
        tarred(tmp_path / "d.tar.gz", zeros, "w:gz"),
    ):
        with pytest.raises(DatasetError, match="unpacks to more than 100 times its size"):
            unpacked(archive)
        archive.unlink()


def test_files_of_a_zip_that_overlap_are_refused(tmp_path: Path) -> None:
    """Every entry of the directory points at the same bytes."""
    path = zipped(tmp_path / "d.zip", {f"images/{n}.png": os.urandom(500) for n in range(3)})
    with zipfile.ZipFile(path) as archive:
        offsets = [one.header_offset for one in archive.infolist()]
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    for offset in offsets[1:]:  # the field is little-endian
        content = content[:directory] + content[directory:].replace(offset.to_bytes(4, "little"), (0).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="overlaps with another file of the archive"):
        unpacked(path)


def test_too_many_files_or_one_name_twice_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="'images/ONE.png' twice, or in two spellings; rename one"):
        unpacked(zipped(tmp_path / "d.zip", FILES | {"images/ONE.png": b""}))
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    with pytest.raises(DatasetError, match="holds more than 2 files"):
        unpacked(zipped(tmp_path / "d.zip", FILES))


def test_what_is_no_archive_or_a_damaged_one_is_said(tmp_path: Path) -> None:
    (tmp_path / "d.zip").write_text("hello")
    with pytest.raises(DatasetError, match="is neither a folder nor a ZIP or TAR file"):
        unpacked(tmp_path / "d.zip")
    (tmp_path / "d.zip").unlink()
    whole = zipped(tmp_path / "d.zip", {"images/one.png": os.urandom(5000)}).read_bytes()
    (tmp_path / "d.zip").write_bytes(whole[:1000] + bytes(10) + whole[1010:])
    with pytest.raises(DatasetError, match="is no sound ZIP or TAR file"):
        unpacked(tmp_path / "d.zip")
    (tmp_path / "d.zip").unlink()
    whole = tarred(tmp_path / "d.tar.gz", {"images/one.png": os.urandom(5000)}, "w:gz").read_bytes()
    (tmp_path / "d.tar.gz").write_bytes(whole[:3000])
    with pytest.raises(DatasetError, match="is no sound ZIP or TAR file|neither a folder"):
        unpacked(tmp_path / "d.tar.gz")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_flipped_byte_is_found_or_does_no_harm(kind: str, tmp_path: Path) -> None:
    files = {f"images/{n}.png": random.Random(n).randbytes(300) + bytes(300) for n in range(3)}
    path, refused = tmp_path / f"d.{kind}", 0
    if kind == "zip":
        zipped(path, files, compression=zipfile.ZIP_DEFLATED)
    else:
        tarred(path, files, f"w:{kind.removeprefix('tar.')}")
    whole = path.read_bytes()
    for position in range(0, len(whole), 17):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            assert set(unpacked(path).values()) == set(files.values()), position
        except DatasetError:
            refused += 1
    assert refused > 20


@pytest.mark.unhurried
def test_a_tar_that_was_cut_is_refused_wherever(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "d.tar", {f"images/{n:02d}.png": bytes([n]) * 700 for n in range(20)}).read_bytes()
    end = len(whole.rstrip(b"\0"))
    for length in range(512, end, 97):
        (tmp_path / "d.tar").write_bytes(whole[:length])
        with pytest.raises(DatasetError, match="no sound ZIP or TAR file|has no end: it was cut"):
            unpacked(tmp_path / "d.tar")


def test_a_name_as_long_as_a_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 10**8
    (tmp_path / "d.tar").write_bytes(header.tobuf() + bytes(1024))
    with pytest.raises(DatasetError, match="neither a folder nor a ZIP or TAR|a name of 100000000 bytes"):
        unpacked(tmp_path / "d.tar")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["images", "images/one.png"], "has a file where another member needs a folder"),
        (["/".join(["d" * 200] * 12)], "lies too deep, or has too long a name"),
    ],
)
def test_names_that_no_disk_can_have_are_refused(names: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=told):
        unpacked(zipped(tmp_path / "d.zip", dict.fromkeys(names, b"x")))
