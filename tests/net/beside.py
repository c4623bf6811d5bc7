"""Good traffic beside a peer gone mad, in a lab and with a gateway that live as long as their file.

    class World(Beside): makes self.lab and self.gateway

    @pytest.fixture(scope="module")
    def world():
        with World() as world:
            yield world
"""

import contextlib
import os
import time
from pathlib import Path

from lab import CORP
from traffic import Datagrams


class Beside(contextlib.AbstractContextManager):
    lab = gateway = None

    def __exit__(self, *_):
        self.lab.close()

    @property
    def engine(self):
        return self.gateway.processes()["engine"]

    def memory(self):
        """Bytes that the engine has in memory."""
        return int(Path(f"/proc/{self.engine}/statm").read_text().split()[1]) * 4096

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.engine}/fd"))

    def drops(self):
        return self.gateway.status()["drops"]


@contextlib.contextmanager
def nothing_lost(lab, inner, rate):
    """Meanwhile so many datagrams a second go between laptop and corp, both ways, and each arrives,
    once."""
    stream = Datagrams(lab, lab.laptop, inner, CORP[4], rate)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        stream.finish()
        raise
    time.sleep(0.2)
    seconds = time.monotonic() - started
    for end in stream.finish():
        numbers = end["numbers"]
        assert len(numbers) >= 0.8 * rate * seconds, f"{len(numbers)} in {seconds} s"
        missing = numbers[-1] + 1 - numbers[0] - len(set(numbers))
        assert missing == 0 and len(numbers) == len(set(numbers)), f"{missing} lost"
