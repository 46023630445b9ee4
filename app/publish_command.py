"""`zoo publish`, `zoo propose` and `zoo export-model`."""

# ruff: noqa: T201 - printing is what a command line is for
from __future__ import annotations

import argparse
from pathlib import Path


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands to the parser."""
    publish = commands.add_parser(
        "publish",
        help="a model or a dataset to the Hugging Face Hub, as a new version",
        description="Publishes the folder of a model, or of a superset dataset, in one commit: checked, with "
        "a card rendered from card.toml and the run record, a changelog and a tag. Earlier versions stay. "
        "The token is the one of `hf auth login` or HF_TOKEN.",
    )
    publish.add_argument("folder", type=Path, metavar="FOLDER", help="with model.toml, or annotations.json")
    publish.add_argument("--repo", required=True, metavar="OWNER/NAME", help="repository; made if need be")
    publish.add_argument("--private", action="store_true", help="make it a private repository")
    publish.add_argument("--version", default="", metavar="TAG", help="default: the next of v1, v2, ...")
    publish.add_argument("--message", default="", metavar="TEXT", help="what is new, for the changelog")
    publish.add_argument(
        "--evaluation",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="evaluation.json of `zoo evaluate`, for the card's figures; may be given several times",
    )
    publish.add_argument("--dry-run", action="store_true", help="check and show, publish nothing")
    publish.set_defaults(run=run_publish)

    propose = commands.add_parser(
        "propose",
        help="a dataset to a shared repository on the Hub, as a pull request",
        description="Proposes a superset dataset to a dataset repository of the Hugging Face Hub, as a "
        "folder contributions/NAME in a pull request that its owner takes or not. Run again after a change, "
        "it goes on with the pull request that is open. The token is the one of `hf auth login` or HF_TOKEN.",
    )
    propose.add_argument("folder", type=Path, metavar="FOLDER", help="dataset that `zoo contribute` wrote")
    propose.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the shared repository")
    propose.add_argument("--name", default="", help="of the dataset in it; default: from its title")
    propose.add_argument("--message", default="", metavar="TEXT", help="what the owner should know")
    propose.add_argument("--dry-run", action="store_true", help="check and show, propose nothing")
    propose.set_defaults(run=run_propose)

    export = commands.add_parser(
        "export-model",
        help="a model of the package as a folder",
        description="Writes an embedded model as a folder that `zoo.load` reads and `zoo publish` publishes.",
    )
    export.add_argument("model", metavar="MODEL", help="e.g. superanimal_topviewmouse")
    export.add_argument("--variant", default="compact", help="default: %(default)s")
    export.add_argument("--out", type=Path, required=True, help="new folder")
    export.add_argument(
        "--example", type=Path, metavar="IMAGE", help="an image that may be shown to anybody, for preview.png"
    )
    export.set_defaults(run=run_export)


def run_publish(arguments: argparse.Namespace) -> int:
    """Publish one folder."""
    from hub_cards import plan_version, publish_plan

    plan = plan_version(
        arguments.folder,
        arguments.repo,
        private=arguments.private,
        version=arguments.version,
        message=arguments.message,
        evaluations=arguments.evaluation,
    )
    print(plan.describe())
    if arguments.dry_run:
        print("nothing was published (--dry-run)")
        return 0
    published = publish_plan(plan)
    print(f"{published.address}\n{published.url}")
    return 0


def run_propose(arguments: argparse.Namespace) -> int:
    """Propose one dataset."""
    from hub_cards import open_pull_request, plan_contribution

    plan = plan_contribution(arguments.folder, arguments.repo, name=arguments.name, message=arguments.message)
    print(plan.describe())
    if arguments.dry_run:
        print("nothing was proposed (--dry-run)")
        return 0
    opened = open_pull_request(plan)
    print(f"{opened.address}\n{opened.url}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write one embedded model as a folder."""
    from hub_cards import export_model

    spec = export_model(arguments.model, arguments.variant, arguments.out, arguments.example)
    print(f"{arguments.out}: {spec.full_name}, weights sha256 {spec.pose.weights.sha256}")
    return 0
