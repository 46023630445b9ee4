"""The benchmark protocol: splits, runs that go on, statistics against known answers, specs of the paper."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data import need
from label_sets import write_image

from adaptation import benchmark_protocol
from adaptation.benchmark_protocol import ZERO_SHOT, RunResult, plan, results_of, run_benchmark, split
from adaptation.benchmark_report import markdown, write_report
from adaptation.benchmark_spec import Benchmark, data_path, list_benchmarks, load_benchmark
from adaptation.benchmark_statistics import analyse, efficiency
from app.cli import main
from converters import convert_labels, write_superset
from converters.synthetic import lab_named, synthesize
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility, load_vocabulary
from training.recipe import parse_tables

VOCABULARY = load_vocabulary("superanimal_topviewmouse")
K = len(VOCABULARY)


def superset(folder: Path, n: int, *, n_groups: int = 4, name: str = "lab") -> Path:
    """A dataset of n small images in so many groups, one animal each."""
    records = []
    for i in range(n):
        image = write_image(folder / "raw" / f"s{i % n_groups}" / f"{i:03d}.png", seed=i)
        points = np.full((1, K, 2), np.nan)
        state = np.full((1, K), Visibility.UNDEFINED, np.int8)
        points[0, :2], state[0, :2] = [[5.0, 5], [15, 12]], Visibility.VISIBLE
        group = f"s{i % n_groups}"
        record = LabelRecord(image, (32, 24), name, group, points, state, np.full((1, 4), np.nan))
        records.append(replace(record, source_image=f"labeled-data/{group}/{i:03d}.png"))
    labels = LabelSet(VOCABULARY.keypoints, tuple(records), (Source(name, ()),), VOCABULARY.name)
    write_superset(labels, folder / "set")
    return folder / "set"


def spec(source: Path | str, **data: object) -> Benchmark:
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"source": str(source), **data}.items()]
    text = 'name = "b"\n[model]\nname = "superanimal_topviewmouse"\nvariant = "compact"\n[data]\n'
    return parse_tables(Benchmark, text + "\n".join(lines), what="test")


def names(labels: LabelSet) -> set[str]:
    return {record.image.name for record in labels.records}


def test_the_papers_numbers_of_images(tmp_path: Path) -> None:
    """1, 5, 10, 50 and 100 % of 110 training images (of 116 by 95:5); each contains the ones before."""
    benchmark = spec(superset(tmp_path, 116), test_fraction=0.05)
    splits = [split(benchmark, tmp_path, shuffle) for shuffle in (1, 2, 3)]
    assert [(len(train), len(test)) for train, test in splits] == [(110, 6)] * 3
    assert all(not names(train) & names(test) for train, test in splits)
    assert len({frozenset(names(test)) for _, test in splits}) == 3
    runs = list(plan(benchmark, splits))
    assert len(runs) == 3 * (1 + 4 * 5)
    assert [len(r.train) for r in runs if r.way == "replay" and r.shuffle == 2] == [1, 5, 11, 55, 110]
    parts = [names(r.train) for r in runs if r.way == "naive" and r.shuffle == 3]
    assert all(a < b for a, b in itertools.pairwise(parts))
    by_way = {r.way: names(r.train) for r in runs if r.shuffle == 1 and r.fraction == 0.1}
    assert len({frozenset(found) for found in by_way.values()}) == 1  # all ways get the same images
    assert [names(t) for t, _ in splits] == [names(split(benchmark, tmp_path, s)[0]) for s in (1, 2, 3)]
    few = list(plan(spec(superset(tmp_path / "few", 32)), [(splits[0][1], splits[0][1])]))
    # 1, 5 and 10 % of six images are one image: one run, not three that overwrite each other
    assert [(r.fraction, len(r.train)) for r in few if r.way == "replay"] == [(0.01, 1), (0.5, 3), (1.0, 6)]
    assert len({r.folder for r in few}) == len(few)
    counts = [max(1, int(f * 1012 + 1e-9)) for f in (0.01, 0.05, 0.1, 0.5, 1)]
    assert counts == [10, 50, 101, 506, 1012]  # Fig. 1e


def test_whole_groups_test(tmp_path: Path) -> None:
    benchmark = spec(superset(tmp_path, 20, n_groups=5), split="groups", test_fraction=0.2)
    train, test = split(benchmark, tmp_path, 1)
    groups = [{r.split_group for r in part.records} for part in (train, test)]
    assert (len(groups[1]), groups[0] & groups[1]) == (1, set())


def test_official_splits_by_file_and_by_list(tmp_path: Path) -> None:
    for shuffle in (1, 2):
        superset(tmp_path / f"train{shuffle}", 6 + shuffle)
        superset(tmp_path / f"test{shuffle}", 3)
    benchmark = spec(
        f"{tmp_path}/train{{shuffle}}/set", split="sources", test_source=f"{tmp_path}/test{{shuffle}}/set"
    )
    assert [[len(part) for part in split(benchmark, tmp_path, s)] for s in (1, 2)] == [[7, 3], [8, 3]]

    source = superset(tmp_path / "lists", 8, n_groups=2)
    table = tmp_path / "split1.csv"
    table.write_text(
        ",trainIndices,testWithin,testAcross\n"
        "0,labeled-data/s0/000.png,labeled-data/s0/002.png,labeled-data/s1/001.png\n"
        "1,elsewhere/labeled-data/s0/004.png,,labeled-data/s1/003.png\n"
    )
    lists = {"split": "lists", "lists": f"{tmp_path}/split{{shuffle}}.csv", "train_column": "trainIndices"}
    train, test = split(spec(source, **lists, test_column="testAcross"), tmp_path, 1)
    assert [{r.source_image[-7:] for r in part.records} for part in (train, test)] == [
        {"000.png", "004.png"},
        {"001.png", "003.png"},
    ]
    with pytest.raises(InputError, match="has no column 'testFar'; it has trainIndices, testWithin"):
        split(spec(source, **lists, test_column="testFar"), tmp_path, 1)
    table.write_text("trainIndices,testAcross\nlabeled-data/s0/999.png,labeled-data/s1/001.png\n")
    with pytest.raises(InputError, match="1 of the 1 images of 'trainIndices' are not among"):
        split(spec(source, **lists, test_column="testAcross"), tmp_path, 1)


def test_missing_data_are_told_with_where_to_get_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("POSE_DATA", raising=False)
    horse = load_benchmark("horse10")
    with pytest.raises(InputError, match=r"horse10\.deeplabcut\.org.*variable is not set; export POSE_DATA"):
        data_path(horse, horse.data.source, 1)
    monkeypatch.setenv("POSE_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"needs .*ap10k-train-split2.json .*it is not there"):
        data_path(load_benchmark("ap10k"), load_benchmark("ap10k").data.source, 2)


def test_the_six_benchmarks_of_the_paper_exist() -> None:
    assert list_benchmarks() == [
        "ap10k",
        "animalpose",
        "dlc_openfield",
        "horse10",
        "irodent",
        "trimouse",
    ] or set(list_benchmarks()) == {"ap10k", "animalpose", "dlc_openfield", "horse10", "irodent", "trimouse"}
    found = {name: load_benchmark(name) for name in list_benchmarks()}
    assert {n: b.protocol.metric for n, b in found.items()} == {
        "ap10k": "map",
        "animalpose": "map",
        "dlc_openfield": "rmse",
        "horse10": "normalised",
        "irodent": "map",
        "trimouse": "map",
    }
    assert {n: b.data.test_fraction for n, b in found.items() if b.data.split == "frames"} == {
        "animalpose": 0.2,
        "dlc_openfield": 0.05,
        "irodent": 0.2,
        "trimouse": 0.05,
    }
    assert all(b.protocol.fractions == (0.01, 0.05, 0.1, 0.5, 1.0) for b in found.values())
    quadrupeds = [b for b in found.values() if b.model.name == "superanimal_quadruped"]
    assert len(quadrupeds) == 4
    assert all(b.protocol.flip_test and b.protocol.bboxes == "labels" for b in quadrupeds)
    assert all(b.data.download and b.published for b in found.values())
    assert all(b.protocol.scratch_overrides == ("network.options.pretrained=true",) for b in found.values())


def test_an_official_benchmark_reads_the_data_that_are_at_hand(tmp_path: Path) -> None:
    need("openfield-Pranav-2018-10-30")
    source = need("openfield-Pranav-2018-10-30")
    benchmark = load_benchmark("dlc_openfield", [f"data.source={json.dumps(str(source))}"])
    train, test = split(benchmark, tmp_path, 1)
    assert (len(train), len(test)) == (110, 6)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("protocol.ways=['magic']", "way 'magic' is none of replay"),
        ("protocol.fractions=[0, 0.5, 0.5]", "fraction 0 is not above 0"),
        ("protocol.metric=accuracy", "metric 'accuracy' is none of rmse, normalised, map"),
        ("protocol.metric=normalised", "needs two keypoints in normalise_by"),
        ("data.split=sources", "test_source and split"),
        ("data.lists=x", "lists, train_column, test_column and split"),
        ("data.colour=red", "unknown entry 'colour'"),
        ("pretraining.overrides=['a.b=1']", "overrides have no effect without recipe"),
        ("protocol.shuffles=0", "shuffles 0 is not 1 or more"),
    ],
)
def test_wrong_specs_are_refused(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_benchmark("dlc_openfield", [override])


FAST = (
    'protocol.overrides=["schedule.iterations=2", "schedule.batch_size=2", "schedule.warmup=0"]',
    "protocol.fractions=[0.5, 1.0]",
    'protocol.ways=["scratch", "replay"]',
    "protocol.shuffles=2",
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    raw = synthesize(lab_named("openfield"), 8, folder / "raw", seed=6)
    convert_labels(raw, "synthetic_openfield", folder / "set")
    return folder / "set"


def rendered_spec(rendered: Path, *overrides: str) -> Benchmark:
    changes = [f"data.source={json.dumps(str(rendered))}", 'data.map=""', "data.test_fraction=0.25"]
    compact = ["model.variant=compact", "protocol.scratch_overrides=[]"]  # it has no ImageNet weights
    return load_benchmark("dlc_openfield", [*compact, *changes, *FAST, *overrides])


def test_a_benchmark_goes_on_where_it_was_stopped(rendered: Path, tmp_path: Path, monkeypatch) -> None:
    benchmark, out = rendered_spec(rendered), tmp_path / "out"
    done, original = [], benchmark_protocol._do

    def stop_after_four(benchmark, run, model, out):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(str(run.folder))
        return original(benchmark, run, model, out)

    monkeypatch.setattr(benchmark_protocol, "_do", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(benchmark, out, device="cpu")
    assert done == ["1/zero_shot", "1/scratch_3", "1/replay_3", "1/scratch_6"]
    before = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/*/result.json")}
    assert len(before) == 4
    monkeypatch.setattr(benchmark_protocol, "_do", original)
    results = run_benchmark(benchmark, out, device="cpu")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(results) == 2 * (1 + 2 * 2)
    assert len({(r.way, r.n_images, r.shuffle) for r in results}) == 10
    replay = next(r for r in results if r.way == "replay" and r.n_images == 6)
    scratch = next(r for r in results if r.way == "scratch" and r.n_images == 6)
    assert replay.values["rmse"] < scratch.values["rmse"]  # two steps from nothing find nothing
    assert not list(out.rglob("checkpoint.pt"))
    trained_on = set().union(*(names(split(benchmark, out, shuffle)[0]) for shuffle in (1, 2)))
    assert len(list((out / "zero_shot").rglob("*.safetensors"))) == len(trained_on)  # each once for all runs
    files = write_report(benchmark, results, out)
    assert all(path.stat().st_size > 50 for path in files)
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert len(rows) == 10
    assert "10 of 10 runs are done" in (out / "benchmark.md").read_text()
    with pytest.raises(InputError, match=r"holds runs of another benchmark \(data differ\)"):
        run_benchmark(rendered_spec(rendered, "data.test_fraction=0.5"), out)


def test_command(rendered: Path, tmp_path: Path, capsys) -> None:
    changes = [f"data.source={json.dumps(str(rendered))}", 'data.map=""', "data.test_fraction=0.25"]
    changes += ["model.variant=compact", *FAST, 'protocol.ways=["naive"]', "protocol.shuffles=1"]
    changes += ["protocol.fractions=[0.01, 0.1, 0.5, 1.0]"]  # of six images: the first two are one image
    command = [
        "benchmark",
        "dlc_openfield",
        "--out",
        str(tmp_path),
        *(f"--set={change}" for change in changes),
    ]
    assert main([*command, "--minutes", "1e-9"]) == 2  # nothing was begun in that time
    assert "no run of dlc_openfield is done yet" in capsys.readouterr().err
    assert main(command) == 0
    assert "4 of 4 runs are done" in capsys.readouterr().out
    before = results_of(tmp_path)
    assert main([*command, "--report-only", "--minutes", "9"]) == 2
    assert "--minutes has no effect with --report-only" in capsys.readouterr().err
    assert main([*command, "--report-only"]) == 0
    assert results_of(tmp_path) == before
    assert main(["benchmark", "--list"]) == 0
    assert "horse10" in capsys.readouterr().out
    assert main(["benchmark", "dlc_openfield"]) == 2


def test_pretraining_leaves_the_target_out(rendered: Path, tmp_path: Path) -> None:
    """The recipe names the target: it is left out. Under another name its images are found, too."""
    other = superset(tmp_path / "other", 4, name="other")
    recipe = tmp_path / "recipe.toml"
    text = """
        [network]
        name = "compact_unet"
        options = {{outputs = {{heatmaps = 27}}, widths = [8, 12], output_stride = 2}}
        [data]
        sources = [{sources}]
        [batch]
        input_size = [32, 32]
        stride = 2
        grey = true
        [schedule]
        iterations = 1
        batch_size = 2
        [run]
        workers = 0
    """
    sources = [f'{{path = "{path}"}}' for path in (rendered, other)]
    recipe.write_text(text.format(sources=", ".join(sources)))
    benchmark = rendered_spec(
        rendered, f"pretraining.recipe={json.dumps(str(recipe))}", "protocol.ways=['naive']"
    )
    model = benchmark_protocol.pretrained_model(
        benchmark, tmp_path / "out", split(benchmark, tmp_path, 1), "cpu"
    )
    assert model.spec.training_data == (str(other),)
    assert "without-synthetic_openfield" in model.spec.variant
    record = json.loads((tmp_path / "out" / "pretraining" / "run.json").read_text())
    assert list(record["datasets"]) == ["other"]

    alias = tmp_path / "alias"
    document = json.loads(
        (rendered / "annotations.json").read_text().replace('"synthetic_openfield"', '"alias"')
    )
    (alias / "images").mkdir(parents=True)
    for image in document["images"]:
        (alias / image["file_name"]).write_bytes((rendered / image["file_name"]).read_bytes())
    (alias / "annotations.json").write_text(json.dumps(document))
    recipe.write_text(text.format(sources=f'{{path = "{alias}"}}'))
    with pytest.raises(
        InputError, match="8 images of the target are in the pre-training data under another name"
    ):
        benchmark_protocol.pretrained_model(benchmark, tmp_path / "o2", split(benchmark, tmp_path, 1), "cpu")
    recipe.write_text(text.format(sources=sources[0]))
    with pytest.raises(InputError, match="nothing is left to pre-train on"):
        benchmark_protocol.pretrained_model(benchmark, tmp_path / "o3", split(benchmark, tmp_path, 1), "cpu")


def result(way: str, n: int, shuffle: int, rmse: float) -> RunResult:
    return RunResult(way, 0.0, n, shuffle, 6, {"rmse": rmse, "map": 1 / rmse}, 0, 1.0)


def results(effect: float, *, noise: float = 0.3, seed: int = 0) -> list[RunResult]:
    """Scratch falls as 1 / sqrt(n) from 20 px; replay is better by an effect that wanes with n."""
    rng = np.random.default_rng(seed)
    found = [result(ZERO_SHOT, 0, s, 9 + s / 10) for s in (1, 2, 3)]
    offsets = rng.normal(0, 1, 3)
    for n in (1, 10, 100):
        for s in (1, 2, 3):
            scratch = 20 / n**0.25 + offsets[s - 1] + rng.normal(0, noise)
            replay = 20 / n**0.25 - effect / n**0.5 + offsets[s - 1] + rng.normal(0, noise)
            found += [result("scratch", n, s, scratch), result("replay", n, s, replay)]
    return found


def test_mixed_model_finds_a_planted_effect_and_no_other() -> None:
    found = analyse(results(8.0), "rmse")
    assert found is not None
    assert (found.n_runs, len(found.contrasts)) == (18, 3)
    first = found.contrasts[0]
    assert (first.n_images, first.first, first.second) == (1, "replay", "scratch")
    assert first.difference == pytest.approx(-8, abs=0.8)
    assert first.low < -8 < first.high or first.difference == pytest.approx(-8, abs=0.5)
    assert first.d == pytest.approx(first.difference / found.residual_sd)
    assert first.p < 1e-6
    assert found.p_way < 1e-6
    assert found.p_interaction < 1e-4
    assert min(found.aic, key=found.aic.get) == "way * images"
    assert found.residual_sd == pytest.approx(0.3, rel=0.7)
    assert found.shuffle_sd > found.residual_sd  # the random intercepts carry the shuffles' offsets
    nothing = analyse(results(0.0), "rmse")
    assert nothing.p_way > 0.05
    assert all(c.p > 0.05 for c in nothing.contrasts)


def test_mixed_model_agrees_with_paired_differences() -> None:
    """Balanced data and a random intercept: the contrast is the mean paired difference."""
    runs = results(5.0, seed=3)
    found = analyse(runs, "rmse")
    value = {(r.way, r.n_images, r.shuffle): r.values["rmse"] for r in runs}
    for c in found.contrasts:
        paired = [value["replay", c.n_images, s] - value["scratch", c.n_images, s] for s in (1, 2, 3)]
        assert c.difference == pytest.approx(np.mean(paired), abs=1e-6)


def test_unfinished_cells_are_left_out() -> None:
    runs = [r for r in results(8.0) if not (r.n_images == 100 and r.shuffle == 3 and r.way == "replay")]
    found = analyse(runs, "rmse")
    assert found.n_runs == 12
    assert {c.n_images for c in found.contrasts} == {1, 10}
    assert analyse([r for r in runs if r.shuffle == 1], "rmse") is None
    assert analyse([r for r in runs if r.way != "replay"], "rmse") is None


def curve(way: str, values: Sequence[tuple[int, float]]) -> list[RunResult]:
    return [result(way, n, s, value) for n, value in values for s in (1, 2)]


def test_how_many_labels_another_way_needs() -> None:
    runs = curve("replay", [(1, 9), (11, 4), (110, 3)]) + curve("scratch", [(1, 50), (11, 16), (110, 1)])
    runs += curve("naive", [(1, 4), (11, 4), (110, 2)]) + curve("transfer", [(1, 50), (11, 40), (110, 5)])
    found = efficiency(runs, "rmse", images=10)
    assert (found.reference_images, found.reference_value) == (11, 4)
    assert found.needed["transfer"] is None
    assert found.needed["naive"] == 1
    assert found.needed["scratch"] == pytest.approx(11 * 10 ** (12 / 15))  # 16 -> 4 of 16 -> 1, over log(n)
    assert efficiency(curve("naive", [(1, 2)]), "rmse") is None
    better_is_more = efficiency(runs, "map", images=10)
    assert better_is_more.needed["scratch"] is not None


def test_report_says_what_was_not_run() -> None:
    benchmark = load_benchmark("dlc_openfield")
    runs = curve("replay", [(11, 4)]) + curve("scratch", [(110, 6)]) + [result(ZERO_SHOT, 0, 1, 5.4)]
    text = markdown(benchmark, runs, None, efficiency(runs, "rmse"))
    assert "| 11 | not run | not run | not run | 4.00 (4.00, 4.00) |" in text
    assert "5 of 63 runs are done" in text
    assert "Zero-shot: 5.40" in text
    assert "scratch: never" in text
    assert "7.68 px (DLCRNet)" in text


@pytest.mark.parametrize("lost", ["none", "one", "replay", "all", "spread"])
def test_runs_without_a_value_do_not_cost_the_report(tmp_path: Path, lost: str) -> None:
    """A network that finds nothing has no distance; and runs that all come to the same have no spread."""
    rng, runs = np.random.default_rng(0), [result(ZERO_SHOT, 0, 1, 5.4)]
    for way, n, shuffle in itertools.product(("scratch", "replay"), (5, 10), (1, 2, 3)):
        gone = lost == "all" or (
            way == "replay" and (lost == "replay" or (lost == "one" and n + shuffle == 11))
        )
        runs.append(
            result(way, n, shuffle, np.nan if gone else 5.0 if lost == "spread" else 5 + rng.normal())
        )
    files = write_report(load_benchmark("dlc_openfield"), runs, tmp_path)
    assert all(path.is_file() for path in files)
    content = json.loads((tmp_path / "statistics.json").read_text())
    assert (content["statistics"] is None) == (lost != "none")
    reference = content["efficiency"] and content["efficiency"]["reference_images"]
    assert reference == {"none": 10, "spread": 10, "one": 5}.get(lost)


def test_results_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "1" / "replay_3" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"way": "replay"}')
    with pytest.raises(InputError, match="is no result of a run"):
        results_of(tmp_path)
    one = result("replay", 3, 1, np.nan)
    path.write_text(json.dumps(one.to_dict()))
    assert np.isnan(results_of(tmp_path)[0].values["rmse"])
