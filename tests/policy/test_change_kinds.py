"""The kind of a change: from labels, trailers, Conventional Commits and reverts; what nobody can tell is a feature."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.policy.change_kinds import kind_of_change, kind_of_release
from tightrope.specs.model import ChangeKind

F, C, R = ChangeKind.FEATURE, ChangeKind.CONFIG, ChangeKind.RELIABILITY
S, E, B = ChangeKind.SECURITY, ChangeKind.EMERGENCY, ChangeKind.ROLLBACK


@pytest.mark.parametrize(
    ("message", "kind", "source"),
    [
        ("feat: express wallet button", F, "conventional commit"),
        ("feat(cart)!: new totals", F, "conventional commit, breaking"),
        ("fix: retry the payment call", R, "conventional commit"),
        ("Fix(api): retry", R, "conventional commit"),
        ("fix!: drop the old field", F, "conventional commit, breaking"),
        ("fix: rename\n\nBREAKING CHANGE: the field is gone", F, "conventional commit, breaking"),
        ("fix: rename\n\nBREAKING-CHANGE: the field is gone", F, "conventional commit, breaking"),
        ("perf: cache the totals", R, "conventional commit"),
        ("hotfix: retry", R, "conventional commit"),
        ("refactor: split the cart", F, "conventional commit"),
        ("chore: pin images", C, "conventional commit"),
        ("build(deps): bump requests", C, "conventional commit"),
        ("docs: explain", C, "conventional commit"),
        ("ci: cache", C, "conventional commit"),
        ("fix(security): escape the title", S, "conventional commit"),
        ("security: rotate keys", S, "conventional commit"),
        ("chore(deps): update yaml to v2.8.3 [security] (#4653)", S, "conventional commit"),
        ("fix: CVE-2024-12345 in the parser", S, "conventional commit"),
        ("feat: scan for CVE-2024-12345", F, "conventional commit"),
        ("fixup! fix: retry", R, "conventional commit"),
        ('Revert "feat: express wallet button"', B, "revert"),
        ('Revert "Signoz admin staging 2 (#4506)" (#4507)', B, "revert"),
        ("revert: use local URLs (#1067)", B, "conventional commit"),
        ("revert(api): use local URLs", B, "conventional commit"),
        ("Rollback to v2.3.1", B, "revert"),
        ("Revert to previous version of admin", B, "revert"),
        ("rollback (#900)", B, "revert"),
        ('Revert "Revert "feat: wallet"" (#2)', F, "applied again; conventional commit"),
        ('Revert "Revert "fix: retry"" (#2)', R, "applied again; conventional commit"),
        ('Reapply "fix: retry"', R, "applied again; conventional commit"),
        ('Revert "Reapply "fix: retry""', B, "revert"),
        ("Rollback button for the editor", F, "default: nothing tells the kind"),
        ("Reverting the arrow of time", F, "default: nothing tells the kind"),
        ("Update API docker image tag to f3d0498", F, "default: nothing tells the kind"),
        ("feat:no space", F, "default: nothing tells the kind"),
        ("note: this is no type", F, "default: nothing tells the kind"),
        ("", F, "default: nothing tells the kind"),
        ("Merge branch 'main' into x", F, "default: a merge tells no kind"),
        ("Merge pull request #7 from a/b\n\nfix: retry", R, "conventional commit"),
        ("wallet\n\nChange-Kind: reliability", R, "trailer"),
        ("feat: wallet\n\ntightrope-kind:  Security ", S, "trailer"),
        ("fix: x\n\nChange-Kind: security\nChange-Kind: config", C, "trailer"),
        ("fix: x\n\nChange-Kind: relaibility", F, "default: the trailer names no kind"),
    ],
)
def test_a_message_tells_its_kind(message: str, kind: ChangeKind, source: str) -> None:
    found = kind_of_change(message)
    assert (found.kind, found.source) == (kind, source)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["kind/reliability"], R),
        (["kind: security"], S),
        (["bug"], R),
        (["enhancement", "bug"], F),
        (["dependencies"], C),
        (["tightrope:emergency", "enhancement"], E),
        (["Tightrope/Rollback"], B),
        (["type: config", "size/XL"], C),
    ],
)
def test_labels_speak_before_the_message(labels: list[str], kind: ChangeKind) -> None:
    found = kind_of_change("feat: wallet\n\nChange-Kind: reliability", labels)
    assert (found.kind, found.source) == (kind, "label")
    assert found.text in labels


def test_labels_that_name_no_kind_leave_the_word_to_the_message() -> None:
    assert kind_of_change("fix: retry", ["size/XL", "team:payments"]).source == "conventional commit"


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        (["fix: a", "feat: b", "chore: c"], F),
        (["fix: a", "chore: c"], C),
        (["fix: a", "fix(security): b"], R),
        (["fix: a", 'Revert "feat: b"'], R),
        (["fix: a", "docs: b", "test: c", "Merge branch 'x'"], R),
        (["docs: b", "test: c"], C),
        (["fix: a", "tidy up"], F),
        (['Revert "feat: b"'], B),
        ([], F),
    ],
)
def test_a_release_is_as_feature_like_as_its_most_feature_like_commit(messages: list[str], kind: ChangeKind) -> None:
    assert kind_of_release(messages).kind is kind


def test_a_release_says_which_commit_decided() -> None:
    assert kind_of_release(["fix: a", "feat: b"]).text == "feat: b"
    assert kind_of_release([]).source == "default: no commit is known"
    assert kind_of_release(["feat: a"], ["tightrope:emergency"]).kind is E


messages = st.sampled_from(
    ["feat: a", "fix: b", "chore: c", 'Revert "x"', "security: d", "?", "fix: e\n\nChange-Kind: emergency", "perf: f"]
)


@given(st.lists(messages, min_size=1), messages, st.randoms(use_true_random=False))
def test_one_more_commit_never_makes_a_release_less_feature_like(
    commits: list[str], extra: str, random: Random
) -> None:
    order = list(ChangeKind)
    before, after = kind_of_release(commits), kind_of_release([*commits, extra])
    assert order.index(after.kind) <= order.index(before.kind)
    random.shuffle(commits)
    assert kind_of_release(commits).kind is before.kind


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=3))
def test_every_text_has_a_kind_and_says_where_it_was_found(message: str, labels: list[str]) -> None:
    found = kind_of_change(message, labels)
    assert isinstance(found.kind, ChangeKind)
    assert found.source


def test_recorded_subjects_of_a_gitops_repository_are_read_as_they_are_meant(recorded: Path) -> None:
    source = recorded / "delivery" / "commits" / "cds-snc_notification-manifests.csv.gz"
    with gzip.open(source, "rt", encoding="utf-8") as rows:
        found = [(row["is_revert"] == "1", kind_of_change(row["subject"])) for row in csv.DictReader(rows)]
    rollbacks = [marked for marked, one in found if one.kind is B]
    assert all(rollbacks), "what is no revert is never ungated as a rollback"
    assert len(rollbacks) == 62
    again = [one for marked, one in found if marked and one.source.startswith("applied again")]
    assert all(one.kind is not B for one in again)
    assert Counter(one.kind for _, one in found)[R] == 79
