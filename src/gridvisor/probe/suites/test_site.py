"""The site as a whole: jobs go from the user interface through the computing element to worker nodes, and back."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.job import follow
from gridvisor.core.deadline import Deadline
from gridvisor.probe.batch import MANY, JobBatch
from gridvisor.roles.context import account_name
from gridvisor.run.command import script

pytestmark = pytest.mark.needs("arex_answers", "services_active", "proxy_made", "slurm_has_nodes", "nodes_listen")

_SOON_S = 90.0


@pytest.mark.needs("job_submitted")
def test_job_finished(batch: JobBatch) -> None:
    """A job finishes, and its output and its errors come back."""
    result = batch.one("plain")
    assert result.status == 0, f"{result.job.state}: {result.job.error}"
    assert result.stdout.splitlines()[3:] == ['two  "words" $HOME']
    assert result.stderr.strip() == "to-stderr"


@pytest.mark.needs("job_finished")
def test_job_ran_on_a_worker_node(batch: JobBatch, deployment: Deployment) -> None:
    """It ran on a worker node, as the account of its VO, in the shared folder."""
    node, user, folder, *_ = batch.one("plain").stdout.splitlines()
    assert node in {machine.name for machine in deployment.of_role("wn")}
    assert user == account_name(batch.account.user.vo)
    assert folder.startswith("/grid/session/")


@pytest.mark.needs("job_finished")
def test_job_seen_in_slurm(batch: JobBatch, guests: dict[str, Host], deployment: Deployment) -> None:
    """Slurm's own records have the job: completed, on the node that its output names."""
    result = batch.one("plain")
    node, _, folder, *_ = result.stdout.splitlines()
    ce = guests[deployment.of_role("ce")[0].name]
    [line] = ce.check_output("grep -F %s /var/log/slurm/jobcomp.log", f"WorkDir={folder} ").splitlines()
    assert f"NodeList={node} " in line
    assert "JobState=COMPLETED" in line


@pytest.mark.needs("job_finished")
def test_job_in_the_accounting(batch: JobBatch, guests: dict[str, Host], deployment: Deployment) -> None:
    """A-REX's accounting has the finished job with its owner and its VO's queue."""
    short = batch.one("plain").job.id.rpartition("/")[2]
    ce = guests[deployment.of_role("ce")[0].name]
    said = ce.check_output("arcctl accounting job info %s", short)
    assert deployment.authority.user_credential(batch.account.user.name).dn in said, said


@pytest.mark.needs("job_submitted")
def test_job_fails_openly(batch: JobBatch) -> None:
    """A job whose command fails is told as failed, with the command's exit code."""
    result = batch.one("failing")
    assert (result.job.state, result.job.exit_code) == ("Failed", 7)


@pytest.mark.needs("job_submitted", "stored_by_root")
def test_job_with_stored_files(batch: JobBatch) -> None:
    """A job gets its input from the storage element and leaves its output there; content and checksum are equal."""
    assert not batch.data_problem, f"its input could not be stored: {batch.data_problem}"
    if "data" not in batch.ids:
        pytest.skip("the site has no storage element")
    result = batch.one("data")
    assert result.status == 0, f"{result.job.state}: {result.job.error}"
    server, _, path_in = batch.data_in.removeprefix("root://").partition("//")
    path_out = batch.data_out.removeprefix("root://").partition("//")[2]
    done = batch.account.run(
        script(
            'xrdcp --silent "$1" -; for path in "$3" "$4"; do xrdfs "$2" query checksum "/$path"; done',
            *(batch.data_out, f"root://{server}", path_in, path_out),
        ),
        timeout_s=60,
    )
    *content, first, second = done.stdout.splitlines()
    assert "\n".join(content) + "\n" == batch.data
    assert first.split() == second.split()


@pytest.mark.needs("job_submitted", "software_area_exported")
def test_job_sees_software(batch: JobBatch, deployment: Deployment) -> None:
    """A job runs a program of the VO's software area, which the storage element exports."""
    if not deployment.of_role("se"):
        pytest.skip("the site has no storage element")
    result = batch.one("software")
    assert result.status == 0, f"{result.job.state}: {result.job.error}"
    assert "hello" in result.stdout.lower()


@pytest.mark.needs("job_submitted")
def test_many_jobs_at_once(batch: JobBatch, deployment: Deployment) -> None:
    """Twenty jobs at once all finish, on worker nodes of the site."""
    assert len(batch.ids["many"]) == MANY
    results = batch.ended("many")
    assert [result.job.state for result in results] == ["Finished"] * MANY
    nodes = {machine.name for machine in deployment.of_role("wn")}
    assert {result.stdout.strip() for result in results} <= nodes


@pytest.mark.needs("job_submitted")
def test_job_cancelled(batch: JobBatch, guests: dict[str, Host], deployment: Deployment) -> None:
    """A job that runs is cancelled: the client is told so, and Slurm has it no more."""
    ce = guests[deployment.of_role("ce")[0].name]
    job_id = batch.cancel()
    [job] = follow(batch.account, [job_id], Deadline.after(_SOON_S))
    assert job.state in {"Killed", "Failed"}, job
    queued = ce.check_output("squeue --noheader --format %%Z")
    assert job_id.rpartition("/")[2] not in queued, "Slurm still has it"
