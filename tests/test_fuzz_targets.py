"""The fuzz targets run over their seeds, so that they cannot rot; the fuzzer itself is not needed here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from fuzz.harness import Tape, held, tape
from fuzz.seeds import kept, write

HERE = Path(__file__).parent.parent / "fuzz"
NAMES = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))

every_target = pytest.mark.parametrize("name", NAMES)


def target(name: str) -> Any:
    return importlib.import_module(f"fuzz.fuzz_{name}")


@every_target
def test_every_seed_holds(name):
    """What real peers sent, and what was chosen by hand, breaks no invariant."""
    module = target(name)
    seeds = [*module.seeds(), *kept(name)]

    for seed in (b"", *seeds):
        module.one(seed)

    assert seeds


@every_target
def test_seeds_get_past_the_first_check(name):
    """Seeds that are all refused at once would leave the fuzzer at the door."""
    module = target(name)

    assert any(module.one(seed) is not None for seed in module.seeds())


def test_kept_seeds_belong_to_targets():
    """A folder of seeds that no target reads is a target that was renamed."""
    folders = {path.name for path in (HERE / "seeds").glob("*") if path.is_dir()}

    assert folders <= set(NAMES)


def test_a_tape_reads_what_was_written():
    """Seeds say what they mean: numbers, choices, chunks."""
    reader = Tape(tape(7, "text", b"\0\1", 1) + b"rest")

    assert (
        reader.byte(),
        reader.chunk(),
        reader.chunk(),
        reader.pick("ab"),
        reader.rest(),
    ) == (7, b"text", b"\0\1", "b", b"rest")


def test_a_tape_that_ends_gives_nothing():
    """Any input can be read, a cut one as if zeros followed."""
    reader = Tape(tape("ab")[:3])

    assert (reader.chunk(), reader.byte(), reader.chunk(), bool(reader)) == (b"a", 0, b"", False)


def test_what_is_held_is_counted():
    """The memory invariant sees what closures, methods, attributes and generators hold, and no shared code."""
    payload = bytes(100_000)

    class Machine:
        def __init__(self) -> None:
            self.closure = lambda: payload

        def method(self) -> None: ...

    def generator():
        inner = payload
        yield
        yield inner

    running = generator()
    next(running)

    for root in (Machine(), Machine().method, running):
        assert 100_000 < held(root) < 110_000
    assert held(held) < 10_000


def test_seeds_are_written_once_each(tmp_path):
    """Equal seeds are one file."""
    assert write([b"a", b"b", b"a"], tmp_path / "new") == 2
    assert len(list((tmp_path / "new").iterdir())) == 2
