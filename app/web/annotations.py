"""What labellers make of a pool of pictures: a file for each labeller and picture, merged on demand.

    annotations/labels/<labeller>/<key of the picture>.json
    annotations/agreement.json       pairs of labellers on the pictures that both labelled

Two labellers never write the same file, and a file is replaced whole, so nobody's work is lost. A labeller
is a name that somebody gives; whoever gives the same name goes on with the same work.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from app.web.guards import IMAGE_SUFFIXES
from app.web.settings import Settings
from superset_vocab import LabelRecord, LabelSet, Source, Visibility, Vocabulary, load_vocabulary
from superset_vocab.errors import InputError
from superset_vocab.files import make_folder, read_json, write_json
from superset_vocab.provenance import operation, package_version

CLOSE = 0.10  # of the animal's size
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{1,39}")


def checked_labeller(name: str) -> str:
    """A labeller's name as it is kept: small letters, no blanks.

    Raises:
        InputError: If it cannot be one.
    """
    if not _NAME.fullmatch(name.strip()):
        raise InputError(
            "give a name of 2 to 40 letters, digits, blanks, dots or dashes that begins with a letter; "
            "labels are kept under it"
        )
    return re.sub(r"[ ._-]+", "_", name.strip().lower()).strip("_")


@dataclass(frozen=True)
class Agreement:
    """How far two labellers of one picture agree.

    Attributes:
        picture: Its name in the pool.
        labellers: The two.
        n_animals: Pairs of animals that could be matched.
        n_extra: Animals that only one of them labelled.
        n_keypoints: Keypoints that both placed, on matched animals.
        n_only_one: Keypoints that one of them placed, on matched animals.
        mean_distance: In px; None without a common keypoint.
        mean_normalised: The same over the animal's size, the diagonal of the box of both labellings.
        share_close: Share of the common keypoints within `CLOSE` of the animal's size.
    """

    picture: str
    labellers: tuple[str, str]
    n_animals: int
    n_extra: int
    n_keypoints: int
    n_only_one: int
    mean_distance: float | None
    mean_normalised: float | None
    share_close: float | None


def agreement(picture: str, labellers: tuple[str, str], a: np.ndarray, b: np.ndarray) -> Agreement:
    """Compare two labellings of a picture; animals are matched by the least total distance.

    Args:
        picture: Its name.
        labellers: Who.
        a: (N, K, 2) px, NaN where missing.
        b: (M, K, 2) px.
    """
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1)  # (N, M, K)
    common = np.isfinite(apart)
    n_common = common.sum(-1)
    total = np.where(common, apart, 0.0).sum(-1)
    cost = np.where(n_common > 0, total / np.maximum(n_common, 1), 1e9)
    rows, columns = linear_sum_assignment(cost) if cost.size else ((), ())
    pairs = [(i, j) for i, j in zip(rows, columns, strict=True) if cost[i, j] < 1e9]
    distances, shares, only_one = [], [], 0
    for i, j in pairs:
        both = np.concatenate([a[i], b[j]])
        size = float(np.linalg.norm(np.nanmax(both, 0) - np.nanmin(both, 0)))
        apart = np.linalg.norm(a[i] - b[j], axis=-1)
        common = np.isfinite(apart)
        there = np.isfinite(a[i]).all(-1) | np.isfinite(b[j]).all(-1)
        only_one += int((there & ~common).sum())
        distances += apart[common].tolist()
        shares += (apart[common] / max(size, 1.0)).tolist()  # a single point has no size
    return Agreement(
        picture,
        labellers,
        n_animals=len(pairs),
        n_extra=len(a) + len(b) - 2 * len(pairs),
        n_keypoints=len(distances),
        n_only_one=only_one,
        mean_distance=float(np.mean(distances)) if distances else None,
        mean_normalised=float(np.mean(shares)) if distances else None,
        share_close=float(np.mean(np.array(shares) <= CLOSE)) if distances else None,
    )


@dataclass(frozen=True, eq=False)
class Pool:
    """Pictures to label, and what was labelled.

    Attributes:
        folder: The pictures, in it and below.
        kept: Where annotations are kept.
        vocabulary: Of the keypoints.
        keypoints: Those of them that are labelled.
        origin: Where the pictures are from; "" says nothing.
    """

    folder: Path
    kept: Path
    vocabulary: Vocabulary
    keypoints: tuple[str, ...]
    origin: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Pool:
        """The host's pool.

        Raises:
            InputError: If there is none, or its annotations cannot be written.
        """
        if settings.pool is None or settings.annotations is None:
            raise InputError("there is no pool to annotate; give --pool and --annotations")
        vocabulary = load_vocabulary(settings.pool_vocabulary)
        chosen = settings.pool_keypoints or vocabulary.keypoints
        names = tuple(name for name in vocabulary.keypoints if name in chosen)
        kept = make_folder(settings.annotations)
        return cls(settings.pool.resolve(), kept, vocabulary, names, settings.pool_origin)

    def pictures(self) -> list[str]:
        """Names of the pictures below the folder, sorted."""
        found = [p for p in self.folder.rglob("*") if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES]
        return sorted(p.relative_to(self.folder).as_posix() for p in found)

    def done(self, labeller: str) -> set[str]:
        """Pictures that a labeller has labelled."""
        return {content["picture"] for content in self._contents(labeller)}

    def next_for(self, labeller: str, skipped: tuple[str, ...] = ()) -> str | None:
        """The first picture that a labeller has not done; None when all are."""
        done = self.done(labeller)
        return next((name for name in self.pictures() if name not in done and name not in skipped), None)

    def save(
        self,
        labeller: str,
        picture: str,
        size_wh: tuple[int, int],
        individuals: list[list[list[float] | None]],
        start: str = "",
    ) -> list[Agreement]:
        """Keep what a labeller says of a picture.

        Args:
            labeller: As `checked_labeller` gives it.
            picture: Its name in the pool.
            size_wh: Of the picture.
            individuals: For each animal a point [x, y, confidence] or None for each of `keypoints`.
            start: The model whose prediction was the starting point; "" for none.

        Returns:
            How far this agrees with everybody else who labelled the picture.
        """
        points = [[None if p is None else [p[0], p[1]] for p in row] for row in individuals if any(row)]
        content = {
            "picture": picture,
            "pool": self.origin,
            "labeller": labeller,
            "size_wh": list(size_wh),
            "vocabulary": self.vocabulary.name,
            "keypoints": list(self.keypoints),
            "individuals": points,
            "start": start,
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            "package_version": package_version(),
        }
        path = self._file(labeller, picture)
        make_folder(path.parent)
        with self._lock:  # so that the newest is written last
            write_json(path, content)
            known = self._known  # with this one, if it is the first
            found = self._agreements_with(labeller, picture)
            known |= {(picture, one.labellers): one for one in found}
            write_json(self.kept / "agreement.json", [vars(known[key]) for key in sorted(known)])
        return found

    def is_done(self, labeller: str, picture: str) -> bool:
        """Whether a labeller has labelled a picture."""
        return any(True for _ in self._contents(labeller, _key(picture)))

    @cached_property
    def _known(self) -> dict[tuple[str, tuple[str, str]], Agreement]:
        """All agreements, kept up from one to the next: all anew takes the square of the labellers."""
        return {(one.picture, one.labellers): one for one in self.agreements()}

    def _agreements_with(self, labeller: str, picture: str) -> list[Agreement]:
        """Of one labeller with everybody else who labelled a picture."""
        by = {content["labeller"]: self._keypoints(content) for content in self._contents("*", _key(picture))}
        pairs = [(min(labeller, other), max(labeller, other)) for other in sorted(by) if other != labeller]
        return [agreement(picture, (a, b), by[a], by[b]) for a, b in pairs]

    def _file(self, labeller: str, picture: str) -> Path:
        return self.kept / "labels" / labeller / f"{_key(picture)}.json"

    def agreements(self) -> list[Agreement]:
        """Of every two labellers of every picture."""
        by_picture: dict[str, dict[str, np.ndarray]] = {}
        for content in self._contents("*"):
            by_picture.setdefault(content["picture"], {})[content["labeller"]] = self._keypoints(content)
        return [
            agreement(picture, (a, b), by[a], by[b])
            for picture, by in sorted(by_picture.items())
            for a, b in combinations(sorted(by), 2)
        ]

    def label_set(self, labeller: str = "*") -> LabelSet:
        """What was labelled, one dataset for each labeller; "*" takes everybody's.

        Raises:
            InputError: If nothing was.
        """
        contents = list(self._contents(labeller))
        if not contents:
            raise InputError("nothing has been annotated yet")
        sources = tuple(
            Source(name, self.keypoints, format="zoo app", keypoint_map={k: k for k in self.keypoints})
            for name in sorted({content["labeller"] for content in contents})
        )
        return LabelSet(
            keypoints=self.vocabulary.keypoints,
            records=tuple(self._record(content) for content in contents),
            sources=sources,
            vocabulary=self.vocabulary.name,
            operations=(
                operation(
                    "annotate",
                    labellers=[source.dataset for source in sources],
                    pools=sorted({content.get("pool", "") for content in contents} - {""}),
                ),
            ),
        )

    def merge(self, out: Path, labeller: str = "*") -> LabelSet:
        """Write what was labelled as a superset dataset, with agreement.json and labellers.json.

        Raises:
            InputError: If nothing was, or `out` is not empty.
        """
        from converters.dataset import write_superset

        written = write_superset(self.label_set(labeller), out)
        who = [
            {key: content[key] for key in ("picture", "labeller", "saved", "start")}
            for content in self._contents(labeller)
        ]
        write_json(out / "labellers.json", who)
        if labeller == "*":
            write_json(out / "agreement.json", [vars(one) for one in self.agreements()])
        return written

    def _contents(self, labeller: str, key: str = "[!.]*") -> Iterator[dict[str, Any]]:
        """Files of a labeller ("*": of all) for pictures that the pool still has, in this vocabulary."""
        for path in sorted((self.kept / "labels").glob(f"{labeller}/{key}.json")):
            content = read_json(path)
            if content["vocabulary"] == self.vocabulary.name and (self.folder / content["picture"]).is_file():
                yield content

    def _keypoints(self, content: dict[str, Any]) -> np.ndarray:
        """(N, K, 2) px in the whole vocabulary."""
        found = np.full((len(content["individuals"]), len(self.vocabulary), 2), np.nan)
        columns = [self.vocabulary.index[name] for name in content["keypoints"]]
        for n, row in enumerate(content["individuals"]):
            for k, point in zip(columns, row, strict=True):
                if point is not None:
                    found[n, k] = point
        return found

    def _record(self, content: dict[str, Any]) -> LabelRecord:
        keypoints = self._keypoints(content)
        there = np.isfinite(keypoints).all(-1)
        asked = np.isin(self.vocabulary.keypoints, content["keypoints"])
        absent = np.where(asked, Visibility.NOT_ANNOTATED, Visibility.UNDEFINED)
        boxes = np.zeros((len(keypoints), 4))
        for n, points in enumerate(keypoints):
            low, high = np.nanmin(points, 0), np.nanmax(points, 0)
            boxes[n] = [*low, *np.maximum(high - low, 1.0)]
        return LabelRecord(
            image=self.folder / content["picture"],
            size_wh=(content["size_wh"][0], content["size_wh"][1]),
            dataset=content["labeller"],
            split_group=content["picture"],
            keypoints=keypoints,
            visibility=np.where(there, Visibility.VISIBLE, absent).astype(np.int8),
            bbox_xywh=boxes,
            source_image=content["picture"],
        )


def _key(picture: str) -> str:
    """A file name for a picture's name."""
    return hashlib.sha256(picture.encode()).hexdigest()[:24]
