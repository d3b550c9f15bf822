"""All machines restarted, as after an upgrade: what only the next boot would show is seen now."""

from __future__ import annotations

from gridvisor.app.site.deployment import Deployment
from gridvisor.app.site.down import down
from gridvisor.app.site.ready import NotReady
from gridvisor.app.site.up import up
from gridvisor.core.errors import GridvisorError, SystemSaidNo
from gridvisor.trial.course import leaves

RESTART = "restart"  # the name of the step
_DOWN_S = 90.0
_UP_S = 180.0


def restart(deployment: Deployment) -> None:
    """Power all machines off in good order and boot them together, as the baseline was; then their services answer.

    Not each for itself: a machine would wait for another one's shutdown, and its services would seem slow.
    Raises SystemSaidNo for a machine that does not power off or come back, or whose services do not.
    """
    if ended := down(deployment, timeout_s=_DOWN_S * deployment.host.pace().times):
        raise SystemSaidNo(f"Did not power off in {_DOWN_S:.0f} s, and was ended: {', '.join(ended)}.")
    try:
        up(deployment, lambda _: None, timeout_s=_UP_S)
    except (GridvisorError, ExceptionGroup) as error:
        late = [one for one in leaves(error) if isinstance(one, NotReady)]
        if not late:
            raise
        raise SystemSaidNo("\n".join(one.message for one in late), hint=late[0].hint) from error
