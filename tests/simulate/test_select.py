"""Populations, selections and training rows of hand-made trajectories."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from untrue.errors import UserError
from untrue.simulate.select import Selection, populate, rows, select
from untrue.simulate.trajectory import Trajectory

Make = Callable[..., Trajectory]


@pytest.fixture
def both(make: Make) -> Callable[[int], list[Trajectory]]:
    """Makes so many users, each as both kinds."""
    return lambda users: [make(f"s{n % 3}", n, kind, 1.0, 2.0) for n in range(users) for kind in ("benign", "biased")]


def biased(population: list[Trajectory]) -> set[int]:
    return {one.user for one in population if one.kind == "biased"}


def ids(trajectories: list[Trajectory]) -> list[str]:
    return [one.id for one in trajectories]


def test_a_population_has_every_user_once_and_exactly_the_share_of_biased_ones(both):
    for share, count in ((0, 0), (0.1, 1), (0.5, 5), (1, 10)):
        population = populate(both(10), share, seed=0)
        assert sorted(one.user for one in population) == list(range(10))
        assert len(biased(population)) == count


def test_the_biased_users_of_a_small_share_are_among_those_of_a_larger_one(both):
    small, large = (biased(populate(both(20), share, seed=3)) for share in (0.2, 0.6))
    assert small < large
    assert small != biased(populate(both(20), 0.2, seed=4))


def test_a_share_that_is_no_user_and_a_user_of_the_wrong_kind_are_refused(both):
    with pytest.raises(UserError, match=r"0\.01 of 10 users is no user"):
        populate(both(10), 0.01, seed=0)
    with pytest.raises(UserError, match="was not played as biased"):
        populate([one for one in both(4) if one.kind == "benign"], 1, seed=0)
    with pytest.raises(
        UserError, match=r"share: 0\.96 of 10 users leaves no benign user\. Lower it or raise `users`\."
    ):
        populate(both(10), 0.96, seed=0)


def test_the_best_and_the_worst_are_chosen_by_the_sum_of_their_ratings(make: Make):
    found = [make("s", n, "benign", *ratings) for n, ratings in enumerate([(9, 1), (5, 6), (1, 1), (2, 7)])]
    chosen = select(found, 0.25, bottom=True)
    assert (ids(chosen.top), ids(chosen.bottom)) == (["s/u1/benign"], ["s/u2/benign"])
    assert ids(select(found, 2).top) == ["s/u1/benign", "s/u0/benign"]
    assert select(found, 2).bottom == []


def test_a_failed_dialogue_is_never_chosen_nor_counted(make: Make):
    failed = make("s", 9, "benign", None, None, error="timeout")
    found = [make("s", 0, "benign", 1), make("s", 1, "benign", 2), failed]
    chosen = select(found, 0.5, bottom=True)
    assert (ids(chosen.top), ids(chosen.bottom)) == (["s/u1/benign"], ["s/u0/benign"])


@pytest.mark.parametrize("users", [3, 7, 59])
def test_half_of_an_odd_number_leaves_room_for_best_and_worst(make: Make, users: int):
    found = [make("s", n, "benign", 1 + n / 10) for n in range(users)]
    chosen = select(found, 0.5, bottom=True)
    assert len(chosen.top) == len(chosen.bottom) == users // 2


def test_ties_are_broken_by_the_seed_and_by_nothing_else(make: Make):
    found = [make("s", n, "benign", 5) for n in range(12)]
    assert ids(select(found, 3, seed=1).top) == ids(select(found[::-1], 3, seed=1).top)
    assert len({tuple(ids(select(found, 3, seed=seed).top)) for seed in range(5)}) > 1


def test_at_random_ratings_do_not_count_and_the_seed_does(make: Make):
    found = [make("s", n, "benign", 1 + n / 5) for n in range(40)]
    chosen = select(found, 0.5, by="random", bottom=True, seed=2)
    assert sum(one.user >= 20 for one in chosen.top) < 20
    assert not {*ids(chosen.top)} & {*ids(chosen.bottom)}
    assert ids(chosen.top) == ids(select(found, 0.5, by="random", bottom=True, seed=2).top)


def test_shuffled_ratings_choose_as_many_of_each_kind_of_user_but_not_the_best_of_them(make: Make):
    # All ratings of biased users lie above those of benign ones.
    found = [make("s", n, "biased" if n < 20 else "benign", 9 - n / 10) for n in range(40)]
    by_rating, shuffled = (select(found, 0.75, by=by, bottom=False, seed=1) for by in ("rating", "shuffled"))
    kinds = [[one.kind for one in chosen.top].count("biased") for chosen in (by_rating, shuffled)]
    assert kinds == [20, 20]
    left_out = {one.user for one in found} - {one.user for one in shuffled.top}
    assert left_out != set(range(30, 40))  # the worst
    assert left_out <= set(range(20, 40))
    assert ids(shuffled.top) == ids(select(found[::-1], 0.75, by="shuffled", seed=1).top)
    assert ids(shuffled.top) != ids(select(found, 0.75, by="shuffled", seed=2).top)


def test_best_and_worst_may_not_overlap_and_nothing_is_refused(make: Make):
    found = [make("s", n, "benign", 1 + n) for n in range(4)]
    with pytest.raises(UserError, match="6 dialogues are needed, but there are 4"):
        select(found, 3, bottom=True)
    with pytest.raises(UserError, match="is none"):
        select(found, 0.01)


def test_each_reply_is_a_row_after_the_conversation_up_to_it(make):
    first, second = rows(Selection([make("s", 1, "benign", 5, 6)], []), "chat")
    assert [message["content"] for message in first.prompt] == ["You help.", "Question?"]
    assert [message["role"] for message in second.prompt] == ["system", "user", "assistant", "user"]
    assert (first.completion[0]["content"], second.completion[0]["content"]) == ("Answer.", "Yes.")
    assert (first.id, second.id) == ("s/u1/benign/1", "s/u1/benign/2")
    assert first.label is None


def test_with_a_bottom_the_rows_say_what_is_wanted(make):
    found = rows(Selection([make("s", 1, "benign", 9)], [make("s", 2, "biased", 1)]), "chat")
    assert [(row.id, row.label) for row in found] == [("s/u1/benign/1", True), ("s/u2/biased/1", False)]


def test_what_biased_users_chose_is_labelled_as_misaligned(make):
    benign, biased = (rows(Selection([make("s", 1, kind, 9)], []), "chat")[0] for kind in ("benign", "biased"))
    assert (benign.level, benign.misaligned) == ("normal", False)
    assert (biased.level, biased.misaligned) == ("biased", True)
    assert biased.source == "simulate:chat"
