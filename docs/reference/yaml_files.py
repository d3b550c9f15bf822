"""Writes site-file.md with site.schema.json, its JSON Schema for editors, and candidate-file.md, from the models."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gridvisor.release.candidate import CandidateFile
from gridvisor.site.check import SHIPPED
from gridvisor.site.model import SIZE_PATTERN, site_schema
from gridvisor.site.role import RoleSpec, find_roles
from gridvisor.trial.known import Known

_WIDTH = 120
_GLUE = "\0"  # a space at which no line is broken

_SITE = """\
# The site file

One YAML file says what a site is; `gridvisor up FILE` makes it so. `gridvisor check FILE` tells what is wrong with it,
each thing at its line, and touches nothing: keys and values first, all at once, and when those are well, what does not
fit together. `make docs` writes this page from the models that read the files.

```yaml
site: kiam-test
networks: {site: 10.20.0.0/24, farm: 10.20.1.0/24}
vos: [dteam]
users: [{name: tester, vo: dteam}]
machines:
  ui:                                       # the role is called as the machine is, and there is no more to say
  ce:  {memory: 256MiB}
  wn:  {count: 2}                           # wn1, wn2
  se:  {volumes: {data: 2GiB}}
  old: {role: se, address: 10.20.0.77}      # another one of that role
publish: {se: [8443:1094]}                  # 127.0.0.1:8443 of this machine is port 1094 of se
```

Sizes have a unit: `256MiB`, `2GiB`; `M` is `MiB`. Anchors, aliases, merge keys and tags of YAML are refused, and so is
a key that is given twice.

## In an editor

[site.schema.json](site.schema.json) is the same as JSON Schema. An editor with YAML's language server completes the
keys and explains them when the file's first line names the schema, by a path or a URL:

```yaml
# yaml-language-server: $schema=../docs/reference/site.schema.json
```

gridvisor itself does not look at that line. Some things only `gridvisor check` can tell, such as whether a role exists
and whether a network has room.
"""

_ROLE = """\
## role.yaml

A role is a folder `roles/NAME`, [shipped or beside the site file](../how-to/add-a-role.md), with up to three parts:

- `role.yaml`, with the keys below;
- `tree/`, files of the machine at their places; those that end in `.j2` are templates;
- `prepare.sh`, run once as root while the image is built.

When a role has a folder in both places, the keys that the one beside the site file names replace ours, each as a whole.
So do its files. Both `prepare.sh` are run, ours first.

Every key may be left out:
"""

_CANDIDATE = """\
# The candidate's file

One YAML file says [what is on trial](../how-to/try-a-release.md): `gridvisor verify SITE --candidate FILE`. `make docs`
writes this page from the models that read the files.

```yaml
candidate: next
summary: ARC 7.2 from unstable, a patched xrdcp and a new xrootd.cfg
packages:
  - {suite: sid, match: ["nordugrid-arc-*"]}      # a suite of the mirror
  - {suite: sid, versions: {munge: 0.5.18-1}}     # packages of it at exactly these versions
  - repository: https://repo.example.org/debian   # a suite of a repository of your own
    suite: trixie
    key: ./repo.asc
    match: ["bdii"]
  - {folder: ./debs}                              # files
roles: ./roles                                    # changed files of roles, as beside a site file
order: [se, ce, wn1, wn2]
```

Paths begin at the file's folder. Put text that begins with `*` in quotes, and a version that looks like a number:
`"1.10"`. Anchors, aliases, merge keys and tags of YAML are refused, and so is a key that is given twice.
"""

_PACKAGES = """\
A list. Each names a `suite`, with `match`, `versions` or both; or a `folder`. A `repository` has a `suite` and a `key`.
"""

_KNOWN = """\
## The file of known failures

`gridvisor verify SITE --candidate FILE --known FILE`. It is a list; [read a
report](../how-to/read-a-report.md#failures-that-are-known) says what can be excused.

```yaml
- probe: "client_runs[ui-voms-proxy-info]"
  reason: the role 'ui' is to take Java 21
  until: 2026-12-31
```

The keys of each:
"""


def page() -> str:
    """The text of site.schema.json."""
    return json.dumps(site_schema(), indent=2, ensure_ascii=False) + "\n"


def reference() -> str:
    """The text of site-file.md."""
    site, role = site_schema(), RoleSpec.model_json_schema(by_alias=True)
    parts = [
        *(_SITE, "## Keys\n", _keys(site)),
        *("## A machine\n", "Below `machines`, by its name:\n", _keys(site["$defs"]["MachineSpec"])),
        *("## A user\n", "Each one of `users`:\n", _keys(site["$defs"]["User"])),
        *(_ROLE, _keys(role)),
        *("### volumes\n", "By their labels:\n", _keys(role["$defs"]["RoleVolume"])),
        *("### ready\n", "A list, of each:\n", _keys(role["$defs"]["Check"])),
        *("### reload\n", "A list, of each:\n", _keys(role["$defs"]["Reload"])),
        *("## The shipped roles\n", "\n".join(_shipped())),
    ]
    return "\n".join(parts) + "\n"


def candidate() -> str:
    """The text of candidate-file.md."""
    file = CandidateFile.model_json_schema(by_alias=True)
    parts = [
        *(_CANDIDATE, "## Keys\n", _keys(file)),
        *("### packages\n", _PACKAGES, _keys(file["$defs"]["PackageSource"])),
        *(_KNOWN, _keys(Known.model_json_schema())),
    ]
    return "\n".join(parts).rstrip("\n") + "\n"


def _keys(model: dict[str, Any]) -> str:
    """A list item for each key of an object's schema."""
    return (
        "\n".join(_item(name, one, name in model.get("required", ())) for name, one in model["properties"].items())
        + "\n"
    )


def _item(name: str, one: dict[str, Any], required: bool) -> str:
    says = [f"`{name}`: {_kind(one)}. {one['description']}"]
    if required:
        says.append("Must be given.")
    elif one.get("default") not in (None, "", [], {}):
        says.append(f"When not given: {_default(one)}.")
    if example := next(iter(one.get("examples", ())), None):
        says.append(f"For example {_yaml(example)}.")
    return _wrapped(" ".join(says))


def _kind(one: dict[str, Any]) -> str:
    """What may stand there, in words."""
    one = _but_null(one)
    if "$ref" in one:
        return "as below"
    if one.get("pattern") == SIZE_PATTERN:
        return "a size"
    if one.get("format") == "date":
        return "a date"
    match one["type"]:
        case "array":
            return f"a list{_of(one['items'])}"
        case "object":
            patterns = one.get("patternProperties", {})
            return f"a mapping by name{_of(next(iter(patterns.values()), one.get('additionalProperties', {})))}"
        case "boolean":
            return "`true` or `false`"
        case "integer":
            low, high = one.get("minimum"), one.get("maximum")
            return f"a number from {low} to {high}" if high is not None else "a number"
        case _:
            return f"text, at most {one['maxLength']} letters" if "maxLength" in one else "text"


def _of(items: dict[str, Any]) -> str:
    """Of what a list or a mapping is, where that says more than 'text'."""
    if "$ref" in _but_null(items):
        return ", see below"
    return " of sizes" if items.get("pattern") == SIZE_PATTERN else ""


def _but_null(one: dict[str, Any]) -> dict[str, Any]:
    """The kind that is left when null is not looked at; the schema itself when several are."""
    kinds = [kind for kind in one.get("anyOf", (one,)) if kind.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else one


def _default(one: dict[str, Any]) -> str:
    default = one["default"]
    # The models count in MiB; files have units.
    return f"`{default}MiB`" if _kind(one) == "a size" else _yaml(default)


def _yaml(value: object) -> str:
    """A plain value as YAML's flow style, in a word of code."""

    def flow(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(flow, value)) + "]"
        return str(value).lower() if isinstance(value, bool) else str(value)

    return f"`{flow(value)}`".replace(" ", _GLUE)


def _shipped() -> Iterator[str]:
    """A list item for each role that gridvisor has."""
    for name, role in sorted(find_roles((SHIPPED,)).items()):
        networks = " and ".join(f"`{network}`" for network in role.networks)
        volumes = "".join(f"; volume `{label}` on `{one.mount}`" for label, one in role.volumes.items())
        yield _wrapped(f"`{name}`: {role.summary}. {role.memory_mib} MiB; in {networks}{volumes}.")


def _wrapped(text: str) -> str:
    filled = textwrap.fill(
        text, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return filled.replace(_GLUE, " ")


if __name__ == "__main__":
    Path(__file__).with_name("site.schema.json").write_text(page())
    Path(__file__).with_name("site-file.md").write_text(reference())
    Path(__file__).with_name("candidate-file.md").write_text(candidate())
