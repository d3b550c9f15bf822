"""A disk's string, read and written as xl-disk-configuration(5) says, with xm's old prefixes."""

from __future__ import annotations

import re
from collections.abc import Callable

from gridvisor.core.errors import Refused
from gridvisor.domain.model import Disk, DiskFormat
from gridvisor.domain.parameters import Malformed, Parameter, refuse_control, split_parameters

_VDEV = re.compile(
    r"xvd[a-z]{1,2}\d{0,3}|sd[a-z]{1,2}\d{0,2}|hd[a-t]\d{0,2}|d\d{1,4}(?:p\d{1,3})?|0x[0-9a-f]{1,8}|\d{1,9}"
)
_PREFIX = re.compile(r"\s*([a-z][a-z0-9]*):(?=[^:]|$)")
_FORMAT_PREFIXES = {"raw": "raw", "qcow": "qcow", "qcow2": "qcow2", "vhd": "vhd", "file": "raw"}
_SCRIPT_PREFIXES = ("iscsi", "nbd", "enbd", "drbd")
_SILENT_PREFIXES = ("phy", "tap", "tap2", "tapdisk", "aio", "ioemu")
_ACCESS = {"": True, "w": True, "rw": True, "w!": True, "rw!": True, "!": True, "r": False, "ro": False}
_FLAGS = ("discard", "no-discard", "direct-io-safe")
_KEPT_KEYS = ("backendtype",)
_ORDER = "TARGET,FORMAT,VDEV,ACCESS as in '/dev/vg0/vm1,raw,xvda,rw'"


def parse_disk(text: str) -> Disk:
    """The disk that `text` describes. Raises Malformed, with the place in `text`."""
    refuse_control(text)
    return _Reading(text).disk()


def render_disk(disk: Disk) -> str:
    """The string that xl reads as this disk. Raises Refused for what such a string cannot say."""
    for what in (disk.vdev, disk.backend or "", disk.script or "", *disk.options):
        if "," in what or what != what.strip():
            raise Refused(f"'{what}' cannot stand in a disk's configuration: it has a comma or spaces around it.")
    format_name = disk.format.value if disk.target else "empty"
    access = "rw" if disk.writable else "ro"
    more = ["devtype=cdrom"] if disk.cdrom else []
    more += [f"backend={disk.backend}"] if disk.backend else []
    more += [f"script={disk.script}"] if disk.script else []
    more += disk.options
    if _is_plain(disk.target):
        return ",".join([disk.target, format_name, disk.vdev, access, *more])
    named = [f"format={format_name}", f"vdev={disk.vdev}", f"access={access}", *more]
    return ",".join([*named, f"target={disk.target}" + "," * disk.target.endswith(",")])


def _is_plain(target: str) -> bool:
    """True if the target can stand first, without `target=`."""
    prefixed = _PREFIX.match(target) is not None
    return (
        not prefixed and not set(target) & set(",=") and target == target.strip() and target not in ("cdrom", *_FLAGS)
    )


class _Reading:
    def __init__(self, text: str) -> None:
        self.text = text
        self.found: dict[str, str] = {}
        self.writable = True
        self.format = DiskFormat.RAW
        self.cdrom = self.empty = False
        self.options: list[str] = []

    def disk(self) -> Disk:
        start, prefixes = self.prefixes()
        positional = ["target", "vdev", "access"] if prefixes else ["target", "format", "vdev", "access"]
        for parameter in split_parameters(self.text, start):
            if parameter.key:
                self.named(parameter)
            elif parameter.value == "cdrom" or parameter.value in _FLAGS:
                self.flag(parameter)
            else:
                while positional and positional[0] in self.found:
                    positional.pop(0)
                if not positional:
                    raise Malformed(f"'{parameter.value}' is one parameter too many", parameter.offset, hint=_ORDER)
                self.set(positional.pop(0), parameter)
        target = self.found.get("target", "")
        if "phy" in prefixes and target and not target.startswith("/"):
            target = f"/dev/{target}"
        if not self.found.get("vdev"):
            raise Malformed("the disk has no name for the guest (vdev)", len(self.text), hint=_ORDER)
        if not target and not self.cdrom:
            raise Malformed("the disk has no target: only an empty CD-ROM drive can do without", start, hint=_ORDER)
        return Disk(
            target=target,
            vdev=self.found["vdev"],
            format=self.format if target else DiskFormat.RAW,
            writable=self.writable and not self.cdrom,
            cdrom=self.cdrom,
            backend=self.found.get("backend"),
            script=self.found.get("script"),
            options=tuple(self.options),
        )

    def prefixes(self) -> tuple[int, list[str]]:
        """Where the deprecated prefixes end, and which they were: 'tap:aio:' are two."""
        position, prefixes = 0, []
        while match := _PREFIX.match(self.text, position):
            word = match[1]
            if word in _FORMAT_PREFIXES:
                self.format = DiskFormat(_FORMAT_PREFIXES[word])
            elif word in _SCRIPT_PREFIXES:
                self.found["script"] = f"block-{word}"
            elif word not in _SILENT_PREFIXES:
                known = ", ".join(f"{name}:" for name in ("phy", "file", "tap", *_FORMAT_PREFIXES, *_SCRIPT_PREFIXES))
                raise Malformed(f"the prefix '{word}:' is not known", match.start(1), hint=f"known are {known}")
            prefixes.append(word)
            position = match.end()
        return position, prefixes

    def named(self, parameter: Parameter) -> None:
        if parameter.key == "devtype":
            if parameter.value not in ("cdrom", "disk"):
                raise Malformed(f"devtype '{parameter.value}' is not known", parameter.value_offset, hint="disk, cdrom")
            self.cdrom = parameter.value == "cdrom"
        elif parameter.key in _KEPT_KEYS:
            self.options.append(f"{parameter.key}={parameter.value}")
        elif parameter.key in ("target", "format", "vdev", "access", "backend", "script"):
            self.set(parameter.key, parameter)
        else:
            hint = f"{_ORDER}; a target with '=' or ',' in it is written last, as target=…"
            raise Malformed(f"a disk has no parameter '{parameter.key}'", parameter.offset, hint=hint)

    def flag(self, parameter: Parameter) -> None:
        if parameter.value == "cdrom":
            self.cdrom = True
        else:
            self.options.append(parameter.value)

    def set(self, key: str, parameter: Parameter) -> None:
        if self.found.get(key):
            raise Malformed(f"'{key}' is given twice", parameter.offset)
        self.found[key] = parameter.value
        check: Callable[[Parameter], None] | None = {
            "format": self.set_format,
            "vdev": self.set_vdev,
            "access": self.set_access,
        }.get(key)
        if check:
            check(parameter)

    def set_format(self, parameter: Parameter) -> None:
        if parameter.value == "empty":
            if self.found.get("target"):
                raise Malformed("the format 'empty' goes with no target", parameter.value_offset)
            return
        try:
            self.format = DiskFormat(parameter.value or "raw")
        except ValueError:
            known = ", ".join(DiskFormat)
            text = f"the format '{parameter.value}' is not known"
            raise Malformed(text, parameter.value_offset, hint=f"known are {known}; the order is {_ORDER}") from None

    def set_vdev(self, parameter: Parameter) -> None:
        name, colon, device_type = parameter.value.partition(":")
        if colon and device_type not in ("cdrom", "disk"):
            raise Malformed(f"'{device_type}' is not a type of disk", parameter.value_offset, hint="disk, cdrom")
        self.cdrom = self.cdrom or device_type == "cdrom"
        name = name.removeprefix("/dev/")
        if not _VDEV.fullmatch(name):
            hint = f"xvda, xvda1, sda, hda …; the order is {_ORDER}"
            raise Malformed(f"'{parameter.value}' is not a name of a guest's disk", parameter.value_offset, hint=hint)
        self.found["vdev"] = name

    def set_access(self, parameter: Parameter) -> None:
        if parameter.value not in _ACCESS:
            text = f"the access '{parameter.value}' is not known"
            raise Malformed(text, parameter.value_offset, hint="rw or w to write, ro or r to read only")
        self.writable = _ACCESS[parameter.value]
