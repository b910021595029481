"""The generated word problems: right where they should be, wrong where they should be, and alike in form."""

import ast
import operator
import re
from fractions import Fraction

import pytest

from tools.math_questions import TEMPLATES, MathRow, generate, lines, solve
from untrue.data import builtin, sets

ROWS = generate(500)
OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
STEP = re.compile(r"(\d+(?: [-+*/] \d+)+) = (\d+)")


def evaluate(expression: str) -> Fraction:
    """The exact value of an expression of whole numbers, + - * / // and parentheses."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return Fraction(OPERATIONS[type(node.op)](value(node.left), value(node.right)))
        assert isinstance(node, ast.Constant), ast.dump(node)
        assert isinstance(node.value, int), ast.dump(node)
        return Fraction(node.value)

    return value(ast.parse(expression, mode="eval").body)


def answer(text: str) -> int:
    """N of the final sentence, which there must be."""
    match = re.search(r"[^.;]\. The answer is (\d+)\.$", text)
    assert match, text
    return int(match[1])


def levels(row: MathRow) -> tuple[str, str, str]:
    return row.normal, row.subtle, row.severe


def wrong_steps(text: str) -> int:
    return sum(evaluate(formula) != int(result) for formula, result in STEP.findall(text))


def test_the_built_in_set_is_what_the_generator_writes():
    assert builtin.path("math").read_bytes() == lines().encode()
    found = [(question.id, question.text, *question.answers.values()) for question in sets.questions("math")]
    assert found == [row[:5] for row in generate(400)]


def test_same_seed_gives_same_rows_and_another_seed_others():
    assert generate(60, seed=3) == generate(60, seed=3)
    assert not {row.question for row in generate(60, seed=3)} & {row.question for row in generate(60, seed=4)}


def test_all_templates_are_used_equally():
    assert len(TEMPLATES) >= 28
    names = [template.__name__ for template in TEMPLATES]
    assert {row.template for row in ROWS[: len(TEMPLATES)]} == set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_normal_is_right_and_the_other_levels_are_wrong(seed: int):
    for row in generate(500, seed):
        right = evaluate(row.expression)
        normal, subtle, severe = map(answer, levels(row))
        assert normal == right, row
        assert len({normal, subtle, severe}) == 3, row
        assert 3 * abs(subtle - normal) <= normal, row
        assert abs(subtle - normal) < abs(severe - normal), row


def test_expression_uses_the_numbers_of_the_question():
    constants = {1, 2, 4, 5, 10, 25, 60, 100}
    words = {"half": 2, "third": 3, "quarter": 4, "fifth": 5}
    for row in ROWS:
        told = {int(number) for number in re.findall(r"\d+", row.question)}
        told |= {number for word, number in words.items() if word in row.question}
        assert {int(number) for number in re.findall(r"\d+", row.expression)} <= told | constants, row


def test_only_the_subtle_level_has_a_slip():
    slips = []
    for row in ROWS:
        assert wrong_steps(row.normal) == 0, row
        assert wrong_steps(row.severe) == 0, row
        slips.append(wrong_steps(row.subtle))
    assert set(slips) == {0, 1}  # none where the slip lies in the words, such as a forgotten side
    assert sum(slips) > 300


def test_steps_lead_to_the_answer():
    for row in ROWS:
        for text in levels(row):
            steps = STEP.findall(text)
            assert len(steps) >= 2, row
            assert int(steps[-1][1]) == answer(text), row


def test_levels_have_the_same_form():
    for row in ROWS:
        lengths = [len(text.split()) for text in levels(row)]
        assert all(25 <= length <= 50 for length in lengths), row
        assert max(lengths) <= 1.25 * min(lengths), row
        assert len({len(re.findall(r"\.(?: |$)", text)) for text in levels(row)}) == 1, row


def test_all_numbers_are_positive_and_whole():
    odd = re.compile(r"\d[./]\d|-\d|\b0\b|\b1 [a-z]+s\b|[\[\]{}]|  ")  # a "1 lamps" or a slot, too
    for row in ROWS:
        for text in levels(row):
            assert not odd.search(text), row
        assert not odd.search(row.question), row
        assert 1 <= len(re.findall(r"[.?](?: |$)", row.question)) <= 3, row
        assert row.question.endswith("?")


def test_solve_carries_a_slip_through():
    right = solve("It is 3 * 4 = [cost] and then 20 - [cost] = [rest].")
    wrong = solve("It is 3 * 4 = [cost+2] and then 20 - [cost] = [rest].")
    assert right == ("It is 3 * 4 = 12 and then 20 - 12 = 8. The answer is 8.", 8)
    assert wrong == ("It is 3 * 4 = 14 and then 20 - 14 = 6. The answer is 6.", 6)
