"""Files are checked before they are read, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foundation.errors import BadFileError
from foundation.files import plain_file, write_text_whole, written_whole


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(target) as part:  # noqa: PT012
        part.write_text("half")
        _ = 1 / 0
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(BadFileError, match=r"out.txt: cannot be written \(No space left"),
        written_whole(tmp_path / "out.txt"),
    ):
        raise OSError(28, "No space left on device")


def test_a_new_file_has_the_rights_that_the_user_set(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text_whole(tmp_path / "out.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o640


def test_a_file_may_have_as_many_bytes_as_are_read_and_not_one_more(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"12345")
    assert plain_file(str(file), 5) == file
    with pytest.raises(BadFileError, match="has 5 bytes; at most 4 are read"):
        plain_file(file, 4)
