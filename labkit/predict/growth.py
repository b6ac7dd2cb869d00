"""How a number that was seen at a few values of the parameters goes on: a dimension, or a size in bytes.

Of the simplest formulas first (the same everywhere, proportional to a parameter, proportional to a product,
a straight line, then powers), the first that gives all the numbers seen is taken.
"""

import collections
import functools
import itertools
import math
import operator

import numpy as np

from ..record.xla_blocks import ends_of

TOLERANCE = 1e-6
ROUNDED = 0.51  # a dimension may be rounded, as (n + 1) // 2 is
MOST_TERMS = 4
MATTERS_IN_BLOCK = 0.05  # of a block: of less it does not matter how it grows


class Formulas:
    """Formulas for numbers seen at the same points.

    points   [{parameter: value}], of each trial
    upward   pairs of trials of which the second has no smaller value of any parameter
    """

    def __init__(self, points):
        self.names = list(points[0])
        self._points = np.array([[float(point[name]) for name in self.names] for point in points])
        pairs = itertools.permutations(range(len(points)), 2)
        self.upward = [(j, k) for j, k in pairs if (self._points[j] <= self._points[k]).all()]
        self._bases = list(_bases(self._points))
        self.of = functools.cache(self._of)

    def _of(self, seen):
        """(terms, coefficients, whether it is confirmed) of the formula for a tuple of numbers, one a trial.

        A number is None where it was not seen. A formula is confirmed if it explains more numbers than it
        has terms.
        """
        known = [k for k, number in enumerate(seen) if number is not None]
        numbers = np.array([seen[k] for k in known])
        if len(set(numbers.tolist())) == 1:
            return ((0,) * len(self.names),), numbers[:1], len(known) > 1
        for terms in self._bases:
            if len(terms) > len(known):
                break
            matrix = _matrix(terms, self._points[known])
            solved, _, rank, _ = np.linalg.lstsq(matrix, numbers, rcond=None)
            wholes = numbers.max() < 1e5 and len(terms) > 1
            off = np.abs(matrix @ solved - numbers).max()
            if rank == len(terms) and off <= max(TOLERANCE * numbers.max(), ROUNDED * wholes):
                return terms, solved, len(known) > len(terms)
        return ((0,) * len(self.names),), numbers[-1:], False

    def values(self, seen, point):
        """The number at a point."""
        terms, coefficients, _ = self.of(seen)
        at = np.array([[float(point[name]) for name in self.names]])
        return float((_matrix(terms, at) @ coefficients)[0])


def _matrix(terms, points):
    """The value of each term at each point. A term is the power of each parameter."""
    return np.prod(points[:, None, :] ** np.array(terms)[None, :, :], axis=2)


def _bases(points):
    """Sets of terms, the simplest first, that may explain numbers seen at these points."""
    different = [len(set(column.tolist())) for column in points.T]
    powers = itertools.product(range(3), repeat=len(different))
    alone = sorted(powers, key=lambda term: (sum(term), max(term)))
    # A size without a shape may be that of a square: two points tell what is proportional to one.
    sets = [(term,) for term in alone]
    terms = [term for term in alone if all(map(operator.lt, term, different))]
    for size in range(2, MOST_TERMS + 1):
        sets += itertools.combinations(terms, size)
    constant = alone[0]
    return sorted(sets, key=lambda chosen: (len(chosen), sum(map(sum, chosen)), constant not in chosen))


class Growth:
    """The bytes of allocations that were seen alike in all trials.

    sort   "known", "guessed" (of a formula that nothing confirms), or "unknown" (no counterpart, or none that
           explains it): then the bytes are those seen
    """

    def __init__(self, seen, number, formulas):
        """seen: for each trial (dimensions, requested bytes), or None where it has no counterpart."""
        self.seen, self.own, self._formulas = seen, seen[number], formulas
        known = [one for one in seen if one is not None]
        self.is_matched = len(known) > 1
        self.numbers, self._factor, self.is_shaped = self._split(known)
        self._shards = Shards.found(known, self._factor) if self.is_shaped else None
        self.sort = self._sort()

    def _split(self, known):
        """The numbers that formulas are for, the bytes of an element, and whether the shape tells them."""
        dimensions, sizes = zip(*known, strict=True)
        per_element = {size / math.prod(shape) for shape, size in known if shape and math.prod(shape)}
        ranks = {len(shape) if shape is not None else None for shape in dimensions}
        if len(ranks) == 1 and len(per_element) == 1:
            columns = [tuple(one and one[0][d] for one in self.seen) for d in range(len(dimensions[0]))]
            return tuple(columns), per_element.pop(), True
        return (tuple(one and one[1] for one in self.seen),), 1.0, False

    def _sort(self):
        if not self.is_matched or (self._jumps() and not self._shards):
            return "unknown"
        confirmed = all(self._formulas.of(numbers)[2] for numbers in self.numbers)
        return "known" if confirmed or self._shards else "guessed"

    def _jumps(self):
        """Whether some dimensions grow while others shrink: no power of the parameters says how."""
        for small, large in self._formulas.upward:
            pairs = [(numbers[small], numbers[large]) for numbers in self.numbers]
            known = [(one, other) for one, other in pairs if None not in (one, other)]
            if any(one < other for one, other in known) and any(one > other for one, other in known):
                return True
        return False

    def take_over(self, candidates):
        """Grow as one of the others does: of several, as most of those that grow at all, which is a guess."""
        growing = [numbers for numbers in candidates if any(len(set(seen) - {None}) > 1 for seen in numbers)]
        self.numbers = max(growing or candidates, key=candidates.get)
        self.sort = "known" if len(candidates) == 1 else "guessed"

    def depends_on(self, name):
        """Whether it grows with a parameter."""
        place = self._formulas.names.index(name)
        formulas = map(self._formulas.of, self.numbers)
        return self.sort != "unknown" and any(term[place] for terms, _, _ in formulas for term in terms)

    def bytes(self, point):
        """The bytes requested at a point."""
        if self.sort == "unknown":
            return self.own[1]
        numbers = [max(0.0, self._formulas.values(seen, point)) for seen in self.numbers]
        return self._factor * (self._shards.elements(*numbers[1:]) if self._shards else math.prod(numbers))


class Workspace(Growth):
    """The scratch memory of an algorithm that a GPU has chosen, as cuDNN does for a convolution.

    That of one algorithm has a fixed part and one that grows. Where a formula would have it shrink, or take
    something away from what grows, the trials have run different algorithms: how it goes on is unknown.
    """

    def _sort(self):
        return "unknown" if self._takes_away() else super()._sort()

    def take_over(self, candidates):
        """As for a Growth, unless those it would grow like are of different algorithms, too."""
        super().take_over(candidates)
        self.sort = "unknown" if self._takes_away() else self.sort

    def _takes_away(self):
        return any((self._formulas.of(numbers)[1] < 0).any() for numbers in self.numbers)


class TriedOut:
    """The bytes with which a GPU tries out an algorithm: as seen, for how they grow no small trial tells."""

    is_matched, is_shaped, sort = True, False, "tried"

    def __init__(self, size):
        self.own = None, size

    def depends_on(self, name):
        """Whether it grows with a parameter: unknown."""
        return False

    def bytes(self, point):
        """The bytes requested, at any point."""
        return self.own[1]


class Plan:
    """The bytes of the block of a compiled step: the fullest moment of what XLA places in it.

    The results of its instructions are scaled, each like a tensor. How tightly XLA packs them is taken to be
    the same as in the trial.
    """

    is_matched, is_shaped = True, False

    def __init__(self, seen, programs, number, formulas):
        """programs: of each trial, None where it has none; seen: for each result of the trial's own program
        what Growth takes."""
        own = programs[number]
        self.own, self._growths = ((), own.bytes), [Growth(one, number, formulas) for one in seen]
        borrow(self._growths)
        self._order = np.argsort(own.results["begin"], kind="stable")
        columns = ("begin", "end", "bytes", "offset")
        results = {name: np.array(own.results[name])[self._order] for name in columns}
        times, self._begin = np.unique(results["begin"], return_inverse=True)
        self._end, self._count = np.searchsorted(times, ends_of(results)), len(times)
        self._packing = own.bytes / max(1.0, self._fullest(results["bytes"].astype(float)))

    @property
    def sort(self):
        """As of a Growth: of what is in the block when it is fullest, the least certain."""
        sorts = {growth.sort for growth in self._growths if growth.own[1] > MATTERS_IN_BLOCK * self.own[1]}
        return next((sort for sort in ("unknown", "guessed") if sort in sorts), "known")

    def depends_on(self, name):
        """Whether it grows with a parameter."""
        return any(growth.depends_on(name) for growth in self._growths)

    def bytes(self, point):
        """The bytes requested at a point."""
        sizes = np.array([growth.bytes(point) for growth in self._growths])
        return self._packing * self._fullest(sizes[self._order])

    def _fullest(self, sizes):
        change = np.zeros(self._count + 1)
        np.add.at(change, self._begin, sizes)
        np.subtract.at(change, self._end, sizes)
        return float(np.cumsum(change).max())


class Shards:
    """The scratch memory of a convolution's gradient on the CPU: as many patches as a fixed budget holds.

    For patches of `places` output positions and `weights` weights of a filter, and a number of filters, it is
    ceil(budget / (places * weights + (places + weights) * filters)) times places times weights, with a budget
    of 30 MiB (Conv2DCustomBackpropFilterOp in tensorflow/core/kernels/conv_grad_filter_ops.cc). Where one
    such patch is work enough for all threads, a gradient with respect to the input takes one at a time.
    """

    BUDGET = 30 * 2**20

    def __init__(self, budget, filters, single_from):
        self._budget, self._filters, self._single_from = budget, filters, single_from

    @classmethod
    def found(cls, known, per_element):
        """The Shards that explain all (dimensions, bytes); None if there are none, or no need of any."""
        shapes = {shape for shape, _ in known}
        several = [shape for shape in shapes if len(shape) == 3 and shape[0] > 1]
        if len({shape[:1] for shape in shapes}) == 1 or not several or not all(map(all, shapes)):
            return None
        budget, least, most = cls.BUDGET / per_element, 1.0, math.inf
        for count, places, weights in several:
            least = max(least, (budget / count - places * weights) / (places + weights))
            most = min(most, (budget / (count - 1) - places * weights) / (places + weights))
        filters = math.ceil(least - TOLERANCE)
        single_from = min((math.prod(shape) for shape in shapes if shape[0] == 1), default=math.inf)
        return cls(budget, filters, single_from) if filters < most else None

    def elements(self, places, weights):
        """How many numbers it holds."""
        if places * weights >= self._single_from:
            return places * weights
        unit = places * weights + (places + weights) * self._filters
        return places * weights * math.ceil(self._budget / unit)


def borrow(growths):
    """Have what has no counterpart grow as what has the same shape, or the same dimensions, or the same size.

    Which of two ops overwrites its input, and so allocates nothing, can differ between the trials.
    """
    shapes, places, sizes = (collections.defaultdict(collections.Counter) for _ in range(3))
    for growth in (growth for growth in growths if growth.is_matched):
        dimensions, size = growth.own
        if growth.is_shaped:
            shapes[dimensions][growth.numbers] += 1
            for place, numbers in enumerate(growth.numbers):
                places[place, dimensions[place]][numbers] += 1
        elif dimensions is None and growth.sort != "tried":
            sizes[size][growth.numbers] += 1
    for growth in (growth for growth in growths if not growth.is_matched):
        dimensions, size = growth.own
        if not growth.is_shaped:
            if len(sizes[size]) == 1:
                growth.take_over(sizes[size])
        elif shapes[dimensions]:
            growth.take_over(shapes[dimensions])
        elif all(places[place] for place in enumerate(dimensions)):
            numbers = tuple(places[place].most_common(1)[0][0] for place in enumerate(dimensions))
            growth.take_over(collections.Counter([numbers]))
