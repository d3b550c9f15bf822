"""The pytest plugin of probes: `pytest --grid-site NAME FOLDER` runs probes of your own on a site that is up.

Marks: `role("ce")` runs a probe once for each machine of the role, `role()` once for every machine of the site;
`needs("slurm_answers")` blocks a probe when that other one has not passed. An AssertionError and SystemSaidNo make a
probe fail, wherever they are raised; every other error is an error of ours.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from testinfra.host import Host as GuestHost

from gridvisor.app.host import Host
from gridvisor.app.site.account import Account
from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.opening import open_deployment
from gridvisor.core.events import Bus
from gridvisor.core.places import Places
from gridvisor.monitor.protocol import State
from gridvisor.probe.batch import JobBatch, submitted
from gridvisor.probe.guest import guest_host
from gridvisor.probe.outcome import BLOCKED, is_said_by_site
from gridvisor.probe.visitor import Visitors, visitors_on
from gridvisor.site.machine import Machine

ANSWERS = "answers"  # the probe that a machine can be asked at all; all others of that machine need it

_SITE = pytest.StashKey[Deployment]()
_BAD = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gridvisor", "probes of a Grid site")
    group.addoption("--grid-site", metavar="SITE", help="The site to probe: its name, or its file.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "role(name): run once for each machine of the role; of any role without a name")
    config.addinivalue_line("markers", "needs(probe, ...): is blocked unless those have passed")
    config.stash[_BAD] = set()
    if named := config.getoption("grid_site"):
        host = Host(Places.of(os.environ, uid=os.geteuid()), Bus())
        config.stash[_SITE] = open_deployment(host, named)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    machines = _of_role(metafunc.definition, metafunc.config)
    if machines and "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", machines, ids=[machine.name for machine in machines], indirect=True)


def _of_role(item: pytest.Item, config: pytest.Config) -> tuple[Machine, ...] | None:
    """The machines that the probe is for; None when it has no mark of a role, or no site is named."""
    mark = item.get_closest_marker("role")
    if mark is None or _SITE not in config.stash:
        return None
    deployment = config.stash[_SITE]
    return deployment.of_role(mark.args[0]) if mark.args else deployment.machines


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Do not begin what cannot succeed, since another probe has told already that it cannot."""
    if _SITE not in item.config.stash:
        return
    if _of_role(item, item.config) == ():
        pytest.skip("the site has no machine of this role")
    bad = item.config.stash[_BAD]
    needs = [name for mark in item.iter_markers("needs") for name in mark.args]
    if isinstance(item, pytest.Function) and probe_name(item) != ANSWERS and (machine := machine_of(item)) is not None:
        needs.insert(0, f"{ANSWERS}[{machine.name}]")
    for name in needs:
        if name in bad:
            pytest.skip(f"{BLOCKED}{name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say by what was raised whether the site failed or we did: pytest itself goes by the phase it was raised in."""
    report = yield
    if report.when != "teardown" and _SITE in item.config.stash:
        if report.failed and call.excinfo is not None:
            report.when = "call" if is_said_by_site(call.excinfo.value) else "setup"
        if report.failed or (report.skipped and BLOCKED in str(report.longrepr)):
            item.config.stash[_BAD] |= {probe_name(item), item.name.removeprefix("test_")}
    return report


def probe_name(item: pytest.Item) -> str:
    """'test_answers[ce]' → 'answers'."""
    name = item.originalname if isinstance(item, pytest.Function) else item.name
    return name.removeprefix("test_")


def machine_of(item: pytest.Function) -> Machine | None:
    """The machine that the probe runs for, if it is one of those with a role."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("machine") if callspec is not None else None


@pytest.fixture(scope="session")
def deployment(pytestconfig: pytest.Config) -> Deployment:
    """The site: its file (`.site`), its machines, its authority; `.ssh(machine)` runs commands."""
    if _SITE not in pytestconfig.stash:
        pytest.skip("no site is named: --grid-site NAME")
    return pytestconfig.stash[_SITE]


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Machine:
    """The machine of the site that a probe with the mark `role` runs for."""
    found: Machine | None = getattr(request, "param", None)
    if found is None:
        pytest.skip("it is for the machines of a role, and the site has none, or no site is named")
    return found


@pytest.fixture
def guest(machine: Machine, guests: dict[str, GuestHost]) -> GuestHost:
    """That machine as pytest-testinfra's Host."""
    return guests[machine.name]


@pytest.fixture(scope="session")
def guests(deployment: Deployment) -> dict[str, GuestHost]:
    """All machines that run, as pytest-testinfra's Hosts, by name."""
    running = {name for name, row in deployment.rows().items() if row.state is State.RUNNING}
    return {
        machine.name: guest_host(machine.name, deployment.ssh(machine))
        for machine in deployment.machines
        if machine.name in running
    }


@pytest.fixture(scope="session")
def account(deployment: Deployment) -> Account:
    """The site's first user at the user interface, with a proxy."""
    if not deployment.of_role("ui"):
        pytest.skip("the site has no user interface")
    account = Account.of(deployment)
    account.require_proxy()
    return account


@pytest.fixture(scope="session")
def visitors(deployment: Deployment, account: Account) -> Iterator[Visitors]:
    """Certificates that must be refused, on the user interface for as long as the probes run."""
    with visitors_on(account.machine, deployment) as visitors:
        yield visitors


@pytest.fixture(scope="session")
def batch(account: Account, request: pytest.FixtureRequest) -> Iterator[JobBatch]:
    """Jobs of several kinds, all submitted when the first of them is asked for."""
    if not account.deployment.of_role("ce"):
        pytest.skip("the site has no computing element")
    # They take most of the time: not for a run in which nobody asks what became of them.
    many = any(probe_name(item) == "many_jobs_at_once" for item in request.session.items)
    with submitted(account, many=many) as jobs:
        yield jobs
