"""How each operator is used in a random model: one function per way of using it.

A recipe gets the graph and the name of a value, adds nodes behind the value, and returns the name
of its result. It draws attributes freely: what turns out not to be valid raises `Unfit`, and
something else is tried.
"""

from collections.abc import Callable
from dataclasses import dataclass

RECIPES = []


@dataclass
class Recipe:
    """When a recipe may be used."""

    name: str
    build: Callable
    weight: float
    ranks: tuple
    since: int
    until: int
    # Runs on the host in a compiled model: only what runs there, too, may follow.
    host: bool

    def fits(self, graph, x):
        """True if it can follow a value."""
        return self.since <= graph.opset <= self.until and graph.rank(x) in self.ranks


def recipe(weight=1.0, ranks=(2, 3, 4), since=7, until=99, host=False):
    """Registers a recipe."""

    def register(build):
        RECIPES.append(Recipe(build.__name__, build, weight, ranks, since, until, host))
        return build

    return register


from . import arithmetic, layers, movement, pointwise, pools, quantized, shapes, tails  # noqa: E402,F401
