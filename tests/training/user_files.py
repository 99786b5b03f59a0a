"""Files of a user's, with a process of their own in them."""

import sys

FOG = """
from unmelt.degradations import CosineBasis, LinearGaussianProcess
{imports}

class Fog(LinearGaussianProcess):
    speed = {speed}

    def __init__(self, shape):
        super().__init__(CosineBasis(shape))

    def log_alpha(self, t):
        return -2 * self.speed * t

    def log_sigma(self, t):
        return -self.speed * (1 - t)
"""


def fog(speed="3.0", imports=""):
    return FOG.format(speed=speed, imports=imports)


def forget(folder):
    """Let a program begin that has imported nothing from a folder."""
    for name, module in list(sys.modules.items()):
        place = str([vars(module).get(name) for name in ("__file__", "__path__")])
        if str(folder) in place or name.startswith("unmelt_copies_"):
            del sys.modules[name]


def lay(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
