"""Which keypoint of a laboratory is which keypoint of a superset vocabulary: proposals with reasons.

The SuperAnimal paper's automatic keypoint matching (Ye et al. 2024, Methods) pairs every labelled keypoint
with one that the model predicts, by place alone. `paper_matching` does that. `match_keypoints` weighs the
same image evidence together with what the names say (`adaptation.keypoint_names`), keeps left and right
together, says how sure it is and why, and refuses where it is not sure: a wrong correspondence teaches a
network a wrong keypoint, a missing one only leaves it untaught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from adaptation.keypoint_choice import Problem, Unit, Weights, assign, load_weights, pose_problem, share
from adaptation.keypoint_evidence import ImageEvidence, Observations, no_images, observe, weigh
from adaptation.keypoint_names import Meaning, Relation, Sides, mirrored_pairs, understand
from superset_vocab import InputError, KeypointMap, LabelSet, Vocabulary
from superset_vocab.provenance import operation

if TYPE_CHECKING:
    from zoo.model import Model

MIN_CONFIDENCE = 0.8
"""Below this a pair is not proposed."""


@dataclass(frozen=True)
class Proposal:
    """What is proposed for one keypoint of the laboratory, and why.

    Attributes:
        source: Its name there.
        target: Its counterpart in the vocabulary, or None where none is proposed.
        best: The likeliest counterpart, proposed or not; "" if none is likely at all.
        confidence: Calibrated probability that `best` is right, in [0, 1].
        affinity: Share of the animals in which the images paired the two, in [0, 1]; NaN without images.
        distance: Median distance of the two in animal lengths; NaN without images.
        n_animals: Animals in which the keypoint was annotated and a pose predicted.
        relation: What the names say of the pair.
        sides: What the names say of the sides.
        runner_up: The next counterpart, or "no counterpart".
        runner_up_probability: In [0, 1].
        reason: Why none is proposed; "" where one is.
    """

    source: str
    target: str | None
    best: str
    confidence: float
    affinity: float
    distance: float
    n_animals: int
    relation: Relation
    sides: Sides
    runner_up: str
    runner_up_probability: float
    reason: str = ""

    @property
    def evidence(self) -> str:
        """One line for people."""
        parts = []
        if self.best:
            parts.append(f"{percent(self.confidence)} sure of {self.best}")
            if np.isfinite(self.affinity):
                parts.append(f"images agree in {self.affinity:.0%} of {self.n_animals} animals")
            elif not self.n_animals:
                parts.append("no image evidence")
            if np.isfinite(self.distance):
                parts.append(f"{self.distance:.1%} of an animal's length apart")
            parts.append(self.relation.words)
            if self.sides == Sides.CONFLICT:
                parts.append("but the sides are opposite")
        if self.runner_up:
            parts.append(f"next: {self.runner_up} ({percent(self.runner_up_probability)})")
        return "; ".join(parts)


def percent(probability: float) -> str:
    """A probability in whole percent; what is nearly sure is not called sure."""
    return ">99%" if probability > 0.99 else "<1%" if probability < 0.01 else f"{probability:.0%}"


@dataclass(frozen=True, eq=False)
class Matching:
    """Proposals for all keypoints of one laboratory.

    Attributes:
        dataset: Name of the laboratory's dataset.
        vocabulary: The superset.
        keypoints: (S,) source names, in order.
        proposals: One for each of them.
        evidence: What the images said.
        min_confidence: Below it nothing was proposed.
        model: Which model looked at the images; "" for names alone.
        operations: How it was made, for the provenance.
        observations: The animals that were looked at; None for names alone.
    """

    dataset: str
    vocabulary: Vocabulary
    keypoints: tuple[str, ...]
    proposals: tuple[Proposal, ...]
    evidence: ImageEvidence
    min_confidence: float
    model: str = ""
    operations: tuple[dict[str, Any], ...] = field(default=())
    observations: Observations | None = None

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged between labels and model; see `ImageEvidence.mirrored`."""
        return self.evidence.mirrored

    @property
    def targets(self) -> dict[str, str | None]:
        """Source name -> superset name, or None."""
        return {proposal.source: proposal.target for proposal in self.proposals}

    def keypoint_map(self, *, licence: str = "", citation: str = "") -> KeypointMap:
        """The proposals as a map; what has no counterpart is dropped."""
        return KeypointMap(self.dataset, self.vocabulary, self.targets, licence, citation)


def match_keypoints(
    labels: LabelSet,
    model: Model | None,
    *,
    vocabulary: Vocabulary | None = None,
    min_confidence: float = MIN_CONFIDENCE,
    max_images: int = 200,
    progress: bool = False,
) -> Matching:
    """Propose a counterpart for every keypoint of a foreign label set.

    Args:
        labels: As read, in the laboratory's own keypoints.
        model: Whose zero-shot poses are compared with the labels; None goes by the names alone.
        vocabulary: The superset; None takes the model's.
        min_confidence: Below it nothing is proposed, in [0, 1].
        max_images: Look at no more images than this, evenly spread over the set.
        progress: Show progress bars on stderr.

    Raises:
        InputError: If the labels are in a vocabulary already, or an option makes no sense.
    """
    if labels.vocabulary is not None:
        raise InputError(f"the labels are in the vocabulary {labels.vocabulary} already: nothing to match")
    if not 0 <= min_confidence <= 1:
        raise InputError(f"min_confidence is {min_confidence}, want a probability in [0, 1]")
    if max_images < 1:
        raise InputError(f"max_images is {max_images}, want 1 or more")
    if vocabulary is None:
        if model is None:
            raise InputError("matching needs a model or a vocabulary")
        vocabulary = model.vocabulary
    if model is not None and model.vocabulary.name != vocabulary.name:
        raise InputError(f"the model predicts {model.vocabulary.name}, not {vocabulary.name}")
    meanings = understand(labels.keypoints)
    evidence = no_images(len(labels.keypoints), vocabulary)
    seen = None
    if model is not None:
        seen = observe(model, labels, meanings, max_images=max_images, progress=progress)
        if len(seen.length):
            evidence = weigh(seen, vocabulary, mirrored_pairs(meanings))
    done = operation(
        "match_keypoints",
        model=model.label if model else "",
        weights=model.weights if model else {},
        min_confidence=min_confidence,
        max_images=max_images,
        n_images=evidence.n_images,
        n_animals=evidence.n_animals,
        n_missed=seen.n_missed if seen else 0,
        boxes=dict(seen.boxes) if seen else {},
    )
    return Matching(
        dataset=labels.sources[0].dataset,
        vocabulary=vocabulary,
        keypoints=labels.keypoints,
        proposals=propose(meanings, vocabulary, evidence, min_confidence),
        evidence=evidence,
        min_confidence=min_confidence,
        model=model.label if model else "",
        operations=(done,),
        observations=seen,
    )


def paper_matching(evidence: ImageEvidence) -> np.ndarray:
    """The paper's procedure alone: Hungarian on the averaged matching matrix.

    Returns:
        (S,) index of each source keypoint's counterpart; -1 where the vocabulary has no keypoint left.
    """
    found = np.full(len(evidence.counts), -1)
    rows, columns = linear_sum_assignment(-evidence.affinity)
    found[rows] = columns
    return found


def propose(
    meanings: Sequence[Meaning],
    vocabulary: Vocabulary,
    evidence: ImageEvidence,
    min_confidence: float = MIN_CONFIDENCE,
    weights: Weights | None = None,
) -> tuple[Proposal, ...]:
    """Proposals from evidence; see `match_keypoints`.

    Args:
        meanings: (S,) of the source names.
        vocabulary: The superset.
        evidence: From the images.
        min_confidence: Below it nothing is proposed.
        weights: Of the choice model; None takes those for the kind of evidence that there is.
    """
    targets = understand(vocabulary.keypoints)
    problem = pose_problem(meanings, targets, vocabulary, evidence)
    if weights is None:
        weights = load_weights(_kind(meanings, evidence))
    shared = share(problem, weights.probabilities(problem))
    chosen = assign(problem, shared)
    found: list[Proposal | None] = [None] * len(meanings)
    for u, unit in enumerate(problem.units):
        p = shared[u]
        best = chosen[u] if chosen[u] >= 0 else int(p[:-1].argmax())
        confidence = weights.confidence(float(p[best]))
        reason = _reason(problem, u, vocabulary, evidence, p, chosen[u], confidence, min_confidence)
        order = [int(c) for c in np.argsort(-p, kind="stable") if c != best]
        for m, s in enumerate(unit.members):
            k = unit.candidates[best][m]
            second = "no counterpart" if order[0] == len(p) - 1 else _name(vocabulary, unit, order[0], m)
            seen = bool(evidence.known[k] and evidence.annotated[s])
            found[s] = Proposal(
                source=meanings[s].name,
                target=None if reason else vocabulary.keypoints[k],
                best=vocabulary.keypoints[k],
                confidence=confidence,
                affinity=float(evidence.affinity[s, k]) if seen else float("nan"),
                distance=float(evidence.distance[s, k]) if seen else float("nan"),
                n_animals=int(evidence.annotated[s]),
                relation=Relation(int(problem.relation[s, k])),
                sides=Sides(int(problem.sides[s, k])),
                runner_up=second,
                runner_up_probability=float(p[order[0]]),
                reason=reason,
            )
    return _both_or_neither([proposal for proposal in found if proposal is not None], vocabulary)


def _both_or_neither(proposals: list[Proposal], vocabulary: Vocabulary) -> tuple[Proposal, ...]:
    """Refuse one side by place alone where the lab labels the other side too and that is not sure.

    Pairs by name go together anyway. Where names say nothing, a left eye that could as well be the left ear
    makes a right eye at the same distance no surer.
    """
    unsure = {p.runner_up: p for p in proposals if p.target is None}
    unsure |= {p.best: p for p in proposals if p.target is None}
    done = []
    for proposal in proposals:
        mirror = vocabulary.keypoints[vocabulary.flip_index[vocabulary.index[proposal.best]]]
        unnamed = proposal.relation == Relation.UNKNOWN and proposal.target is not None
        if unnamed and mirror != proposal.best and mirror in unsure:
            why = f"its mirror image {mirror} may be {unsure[mirror].source}, which is not sure enough"
            proposal = replace(proposal, target=None, reason=why)
        done.append(proposal)
    return tuple(done)


def _kind(meanings: Sequence[Meaning], evidence: ImageEvidence) -> str:
    """Which weights are for the evidence that there is."""
    if not evidence.n_animals:
        return "names"
    return "both" if any(meaning.parts or meaning.side for meaning in meanings) else "images"


def _name(vocabulary: Vocabulary, unit: Unit, candidate: int, member: int) -> str:
    return vocabulary.keypoints[unit.candidates[candidate][member]]


def _reason(
    problem: Problem,
    u: int,
    vocabulary: Vocabulary,
    evidence: ImageEvidence,
    p: np.ndarray,
    chosen: int,
    confidence: float,
    least: float,
) -> str:
    """Why a unit gets no counterpart; "" if it gets the one chosen."""
    unit = problem.units[u]
    best = unit.candidates[chosen if chosen >= 0 else int(p[:-1].argmax())]
    likeliest = vocabulary.keypoints[best[0]]
    if evidence.mirrored and any(vocabulary.flip_index[k] != k for k in best):
        same, other = evidence.side_votes
        return (
            f"left and right are exchanged against the model in {other} of {same + other} animals "
            "(seen from below, mirrored, or the viewer's sides?)"
        )
    if chosen < 0 and p[-1] >= p[:-1].max():
        return f"no counterpart is likelier ({percent(p[-1])}) than {likeliest}"
    if chosen < 0:
        return f"{likeliest} goes better with another keypoint"
    return f"not sure enough ({percent(confidence)}, want {least:.0%})" if confidence < least else ""
