"""Phrases that a stream listens for: an Aho-Corasick automaton over tokens whose arcs carry scores.

As in NeMo's and icefall's context graphs, each token that goes on with a phrase earns its weight at once, so that the
phrase survives the search; what was earned is paid back when the phrase is not completed, and kept when it is.

All phrases are added level by level with NumPy: ten thousand take some tens of milliseconds, and a search step looks
at the arcs of one state only, so their number does not slow it down.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rnnt_decoder.joint import Float32

Int64 = npt.NDArray[np.int64]
_ROOT = 0
_MOST_CACHED = 1 << 19  # scores, of all labels of a state


class PhraseBoost:
    """A `FusionModel` for a set of phrases. States are node numbers."""

    start = _ROOT

    def __init__(self, phrases: Sequence[Sequence[int]], weights: Sequence[float], labels: int) -> None:
        """Build the automaton.

        Args:
            phrases: token ids of each phrase, at least one.
            weights: natural-log score per token of each phrase.
            labels: number of labels, the blank not counted.
        """
        self._labels = labels
        self._add(phrases, weights)
        self._link()
        self._cache: dict[int, Float32] = {}

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self._owed)

    def scores(self, state: int) -> Float32:
        """Return the scores of every next label, [labels] float32."""
        cached = self._cache.get(state)
        if cached is None:
            cached = np.full(self._labels, -self._owed[state], np.float32)
            for node in reversed([state, *self._suffixes(state)]):  # longer matches over shorter ones
                arcs = slice(*np.searchsorted(self._keys, [node * self._labels, (node + 1) * self._labels]))
                children = self._children[arcs]
                gains = self._owed[children] + self._kept[children] - self._owed[state]
                cached[self._keys[arcs] - node * self._labels] = gains
            if len(self._cache) * self._labels >= _MOST_CACHED:
                self._cache.clear()
            self._cache[state] = cached
        return cached

    def advance(self, state: int, label: int) -> int:
        """Return the state after a label: the longest beginning of a phrase that the labels so far end with."""
        for node in [state, *self._suffixes(state)]:
            child = self._find(np.array([node]), np.array([label]))[0]
            if child >= 0:
                return int(child)
        return _ROOT

    def final_score(self, state: int) -> float:
        """Return what is paid back for a phrase that is not complete."""
        return -float(self._owed[state])

    def _suffixes(self, node: int) -> list[int]:
        chain = []
        while node != _ROOT:
            node = int(self._fail[node])
            chain.append(node)
        return chain

    def _add(self, phrases: Sequence[Sequence[int]], weights: Sequence[float]) -> None:
        """Make the tree: `_keys` (parent * labels + label, ascending) with `_children`, and each node's score."""
        longest = max(map(len, phrases))
        lengths = np.array([len(phrase) for phrase in phrases])
        tokens = np.zeros((len(phrases), longest), np.int64)
        for row, phrase in zip(tokens, phrases, strict=True):
            row[: len(phrase)] = phrase
        weight = np.asarray(weights, np.float32)
        node = np.zeros(len(phrases), np.int64)
        earned = np.zeros(1, np.float32)  # along the path to each node
        complete = np.zeros(1, np.float32)  # of it, by phrases that end on the way
        keys: list[Int64] = []
        self._levels: list[tuple[Int64, Int64, Int64]] = []  # nodes, parents, labels
        for depth in range(longest):
            rows = np.flatnonzero(lengths > depth)
            unique, which = np.unique(node[rows] * self._labels + tokens[rows, depth], return_inverse=True)
            first = len(earned)
            parents, labels = np.divmod(unique, self._labels)
            gain = np.zeros(len(unique), np.float32)
            np.maximum.at(gain, which, weight[rows])  # phrases that share a beginning: the larger weight
            earned = np.concatenate([earned, earned[parents] + gain])
            complete = np.concatenate([complete, complete[parents]])
            node[rows] = first + which
            ends = node[rows[lengths[rows] == depth + 1]]
            complete[ends] = earned[ends]
            keys.append(unique)
            self._levels.append((np.arange(first, len(earned)), parents, labels))
        # Nodes are numbered in the order of their keys within a level, and levels follow each other.
        order = np.argsort(np.concatenate(keys))
        self._keys = np.concatenate(keys)[order]
        self._children = 1 + order
        self._owed = earned - complete
        parent_of = np.concatenate([[0], *(parents for _, parents, _ in self._levels)])
        self._kept = complete - complete[parent_of]

    def _link(self) -> None:
        """Find each node's longest proper suffix that is a node; one that ends a phrase is heard there, too."""
        self._fail = np.zeros(len(self._owed), np.int64)
        for nodes, parents, labels in self._levels[1:]:
            suffix = self._fail[parents]
            found = self._find(suffix, labels)
            while np.any(searching := (found < 0) & (suffix != _ROOT)):
                suffix[searching] = self._fail[suffix[searching]]
                found[searching] = self._find(suffix[searching], labels[searching])
            self._fail[nodes] = np.maximum(found, _ROOT)
            heard = self._kept[self._fail[nodes]]
            self._kept[nodes] = np.where(self._kept[nodes] > 0, self._kept[nodes], heard)
        del self._levels

    def _find(self, nodes: Int64, labels: Int64) -> Int64:
        """Return the children of nodes under labels, -1 where there is none."""
        wanted = nodes * self._labels + labels
        index = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[index] == wanted, self._children[index], -1)
