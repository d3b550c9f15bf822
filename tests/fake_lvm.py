"""LVM of words: its tools as scripts, over a file that says which logical volumes there are and what is in them.

`dd` and `mke2fs` are there for its devices as well. A volume holds a text; a thin snapshot begins with its origin's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TOOLS = ("lvs", "pvs", "lvcreate", "lvremove", "lvchange", "lvm", "dd", "mke2fs")
MIB = 1 << 20

_TOOL = """\
#!{python} -ISE
import sys
sys.path.insert(0, {folder!r})
import fake_lvm
sys.exit(fake_lvm.run({name!r}, sys.argv[1:], {state!r}))
"""


class FakeLvm:
    """The volume group vg0, with the thin pool `thin` or without one, and its tools in the folder `bin`."""

    def __init__(self, folder: Path, *, thin: bool, free_bytes: int = 1 << 34) -> None:
        self.bin = folder / "lvm"
        self.bin.mkdir()
        self._state = self.bin / "state.json"
        for name in TOOLS:
            tool = self.bin / name
            tool.write_text(
                _TOOL.format(
                    python=sys.executable, folder=str(Path(__file__).parent), name=name, state=str(self._state)
                )
            )
            tool.chmod(0o755)
        self._write({"free": free_bytes, "thin": thin, "lvs": {}, "said": []})

    def fill(self, image: Path, device: str, *, is_empty: bool) -> None:
        """See storage.filling.Fill."""
        self.put(Path(device).name, image.read_text())

    def put(self, lv: str, content: str) -> None:
        """What a guest does that writes to its disk."""
        state = self._read()
        state["lvs"][lv]["content"] = content
        self._write(state)

    def set_free(self, free_bytes: int) -> None:
        """Have so much room in all."""
        self._write({**self._read(), "free": free_bytes})

    def add(self, lv: str, *tags: str) -> None:
        """A volume that somebody else has made, or somebody who was killed."""
        state = self._read()
        state["lvs"][lv] = {"size": MIB, "tags": list(tags), "pool": "", "origin": "", "content": "", "active": True}
        self._write(state)

    def remove(self, lv: str) -> None:
        """What somebody else does."""
        state = self._read()
        del state["lvs"][lv]
        self._write(state)

    @property
    def volumes(self) -> dict[str, dict[str, Any]]:
        """All volumes, by name."""
        return dict(self._read()["lvs"])

    @property
    def said(self) -> list[str]:
        """The commands that have changed something."""
        return list(self._read()["said"])

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._state.read_text())
        return found

    def _write(self, state: dict[str, Any]) -> None:
        _write(self._state, state)


def run(tool: str, words: list[str], state_file: str) -> int:
    """What the tool does; its exit status."""
    if tool == "lvm":
        return _run_script(Path(words[0]).read_text().splitlines(), state_file)
    path = Path(state_file)
    state = json.loads(path.read_text())
    try:
        said = _DOES[tool](state, words)
    except (KeyError, ValueError) as error:
        sys.stderr.write(f"  {tool}: {error}\n")
        return 5
    if said is not None:
        sys.stdout.write(f"{said}\n")
    else:
        state["said"].append(f"{tool} {' '.join(words)}")
        _write(path, state)
    return 0


def _run_script(lines: list[str], state_file: str) -> int:
    if lines[0] != "#!lvm":
        raise ValueError("no script of LVM")
    for line in lines[1:]:
        if len(line) > 255:
            sys.stderr.write(f"  Line too long (max 255) beginning: {line[:50]}\n")
            return 3
        tool, *words = line.split()
        if status := run(tool, words, state_file):
            return status
    return 0


def _write(path: Path, state: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.rename(path)


def _options(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    options: dict[str, list[str]] = {}
    rest, left = [], list(words)
    while left:
        word = left.pop(0)
        if word in ("-q", "--yes", "-s", "-qy"):
            options.setdefault(word, [])
        elif word.startswith("--"):
            options.setdefault(word, []).append(left.pop(0))
        elif word == "-qyn":
            options["-n"] = [left.pop(0)]
        elif word.startswith("-"):
            options[word[:2]] = [word[2:]]
        else:
            rest.append(word)
    return options, rest


def _lvcreate(state: dict[str, Any], words: list[str]) -> None:
    options, rest = _options(words)
    [name] = options["-n"]
    if name in state["lvs"]:
        raise ValueError(f'Logical Volume "{name}" already exists in volume group "vg0".')
    tags = options.get("--addtag", [])
    if "" in tags:
        raise ValueError("a tag is empty")
    new = {"tags": tags, "origin": "", "pool": "", "content": "", "active": True}
    if "-s" in options:
        origin_name = rest[0].removeprefix("vg0/")
        if origin_name not in state["lvs"]:
            raise ValueError(f"Snapshot origin LV {origin_name} not found in Volume group vg0.")
        origin = state["lvs"][origin_name]
        if "-L" in options and origin["origin"]:
            raise ValueError("Snapshots of snapshots are not supported.")
        new |= {"size": origin["size"], "content": origin["content"], "origin": origin_name, "pool": origin["pool"]}
        # lvmthin(7): a thin snapshot is not activated unless it is asked for
        new["active"] = not origin["pool"] or options.get("-k") == ["n"]
    else:
        size = options.get("-V", options.get("-L", ["?"]))[0]
        new |= {"size": int(size.removesuffix("b")), "pool": options.get("--thinpool", [""])[0]}
    state["lvs"][name] = new


def _lvremove(state: dict[str, Any], words: list[str]) -> None:
    for name in _options(words)[1]:
        gone = name.removeprefix("vg0/")
        del state["lvs"][gone]
        for one in state["lvs"].values():
            if one["origin"] == gone:
                if not one["pool"]:
                    raise ValueError("a snapshot would go with it")
                one["origin"] = ""


def _lvchange(state: dict[str, Any], words: list[str]) -> None:
    options, [name] = _options(words)
    one = state["lvs"][name.removeprefix("vg0/")]
    one["tags"] = [tag for tag in one["tags"] if tag not in options.get("--deltag", [])] + options.get("--addtag", [])


def _dd(state: dict[str, Any], words: list[str]) -> None:
    told = dict(word.split("=", 1) for word in words)
    source, target = (state["lvs"][told[key].removeprefix("/dev/vg0/")] for key in ("if", "of"))
    if not source["active"] or not target["active"]:
        raise ValueError("No such file or directory")
    target["content"] = source["content"]


def _mke2fs(state: dict[str, Any], words: list[str]) -> None:
    state["lvs"][words[-1].removeprefix("/dev/vg0/")]["content"] = "empty ext4"


def _lvs(state: dict[str, Any], words: list[str]) -> str:
    def row(name: str, one: dict[str, Any]) -> dict[str, str]:
        thick = not one["pool"]
        return {
            "lv_name": name,
            "lv_size": str(one["size"]),
            "origin_size": "",
            "lv_tags": ",".join(one["tags"]),
            "lv_attr": f"{'-' if thick else 'V'}wi-{'a' if one['active'] else '-'}-----",
            "pool_lv": one["pool"],
            "origin": one["origin"],
            "data_percent": "" if (thick and not one["origin"]) or not one["active"] else "0.00",
        }

    if "--nameprefixes" in words:
        shown = [word.removeprefix("vg0/") for word in words if word.startswith("vg0/")]
        sizes = [(name, state["lvs"][name]["size"]) for name in shown]
        return "\n".join(f"  LVM2_LV_NAME='{name}' LVM2_LV_SIZE='{size}' LVM2_ORIGIN_SIZE=''" for name, size in sizes)
    rows = [row(name, one) for name, one in state["lvs"].items()]
    if state["thin"]:
        pool = dict.fromkeys(("origin_size", "lv_tags", "pool_lv", "origin"), "")
        size = {"lv_name": "thin", "lv_size": str(state["free"]), "lv_attr": "twi-aotz--", "data_percent": "0.00"}
        rows.append(pool | size)
    return json.dumps({"report": [{"lv": rows}]})


def _pvs(state: dict[str, Any], words: list[str]) -> str:
    names = ["", *(name for name, one in state["lvs"].items() if not one["pool"])]
    rows = [{"pv_name": "/dev/sda", "pv_free": str(state["free"]), "lv_name": name} for name in names]
    return json.dumps({"report": [{"pvseg": rows}]})


_DOES = {
    "lvs": _lvs,
    "pvs": _pvs,
    "lvcreate": _lvcreate,
    "lvremove": _lvremove,
    "lvchange": _lvchange,
    "dd": _dd,
    "mke2fs": _mke2fs,
}
