"""Who takes part: one class a contender, one file a family. See contender.py for what each has."""

from .bare import Bound, BoundOne, Veth
from .fastd import Fastd
from .nebula import Nebula
from .ocserv import Ocserv, OcservTls
from .openvpn import Openvpn
from .tund import TundDtls, TundTls
from .wireguard import WireguardGo

# In the order of the tables. The reference is first of those that are run.
ALL = (Ocserv, OcservTls, TundDtls, TundTls, Openvpn, WireguardGo, Fastd, Nebula, Bound, BoundOne,
       Veth)
BY_NAME = {contender.name: contender for contender in ALL}

REFERENCE = Ocserv.name
REFERENCE_TLS = OcservTls.name
OURS = TundDtls.name
OURS_TLS = TundTls.name
BOUND = Bound.name
BOUND_ONE = BoundOne.name
NO_TUNNEL = Veth.name

# What a run cannot do without, and all that --quick runs.
NEEDED = (REFERENCE, REFERENCE_TLS, OURS, OURS_TLS, BOUND, BOUND_ONE, NO_TUNNEL)


def given_by_path(name, path):
    """A kind that is known with another program: wireguard-go=PATH is shown as wireguard-go-new,
    beside Debian's."""
    kind = BY_NAME.get(name)
    if kind is None or not kind.by_path:
        known = ", ".join(c.name for c in ALL if c.by_path)
        raise ValueError(f"--peer {name}: only these can be given by path: {known}")
    return type(kind.__name__ + "Given", (kind,), {
        "name": name + "-new", "program": path, "title": f"{kind.title} ({path})",
        "programs": tuple(program for program in kind.programs if program != kind.program)})
