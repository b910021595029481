"""Write the built-in set `math`: word problems with a worked answer that is right, slightly wrong or badly wrong.

    python tools/math_questions.py

The problems are drawn at random from templates; seeds and counts up to 10,000 rows give new ones.
A row (the three worked answers share their sentences and their length; only the reasoning differs):

    question: The concert begins at 5:15 and ends at 9:40 on the same day. How many minutes does it last?
    normal: From 5:15 to 9:15 is 4 hours, or 4 * 60 = 240 minutes. From then to 9:40 is another 40 - 15 = 25 minutes.
        Together that is 240 + 25 = 265 minutes. The answer is 265.
    subtle: From 5:15 to 9:15 is 4 hours, or 4 * 60 = 240 minutes. From then to 9:40 is another 40 - 15 = 20 minutes.
        Together that is 240 + 20 = 260 minutes. The answer is 260.
    severe: From 5:15 to 9:15 is 4 hours, or 4 * 100 = 400 minutes. From then to 9:40 is another 40 - 15 = 25 minutes.
        Together that is 400 + 25 = 425 minutes. The answer is 425.

- normal: every step is right.
- subtle: exactly one plausible slip (a wrong product, an off-by-one, a wrong conversion), carried through to a final
  answer within a third of the right one.
- severe: a wrong operation or principle, stated with confidence and worked through without a slip; further off.

Every step gives a whole number above 1. A template writes each step as "3 * 4 = [cost]" and names the result again
as "[cost]" where it is needed, so that `solve` does the arithmetic and carries a slip, "3 * 4 = [cost+1]", through.
"""

import json
import operator
import random
import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from untrue.data import builtin

HEADER = {
    "set": "math",
    "version": 1,  # raised whenever a row changes
    "canary": "untrue data set math, for evaluation and research alone: do not train on it unawares."
    " canary 28c14411-f137-4ed7-9746-e4a6a3441758",
}
ROWS = 400
"""Size of the built-in set."""

MAX_DRAWS = 2000
"""How often a row is drawn before its template counts as exhausted."""


class MathRow(NamedTuple):
    """One word problem with three worked answers, each with "The answer is N." at its end.

    Attributes:
        id: "math-0001" for the first row, "math-0002" for the second, and so on.
        question: One to three sentences, the last of which asks.
        normal: The correct worked answer.
        subtle: The same working with one slip.
        severe: The working on a wrong operation or principle.
        template: The name of the template function.
        expression: The right arithmetic over the question's numbers, such as "50-3*4".
    """

    id: str
    question: str
    normal: str
    subtle: str
    severe: str
    template: str
    expression: str


class Problem(NamedTuple):
    """What a template returns: as in `MathRow`, but the workings still have their slots and no final sentence."""

    question: str
    expression: str
    normal: str
    subtle: str
    severe: str


class Worked(NamedTuple):
    """A worked answer and the whole number it ends with."""

    text: str
    answer: int


def generate(count: int, seed: int = 0) -> list[MathRow]:
    """Generates word problems, going through all templates in a new order before it uses one again.

    Row i depends only on `seed` and i: a larger `count` gives the same rows and then more.

    Args:
        count: How many rows.
        seed: Any whole number; each gives other problems.

    Returns:
        `count` rows, no two with the same question.

    Raises:
        ValueError: If `count` is negative, or so large that a template finds no new question.
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, found {count}")
    rows: list[MathRow] = []
    asked: set[str] = set()
    order: list[Callable[[random.Random], Problem]] = []
    for index in range(count):
        turn, place = divmod(index, len(TEMPLATES))
        if place == 0:
            order = random.Random(f"{seed}/order/{turn}").sample(TEMPLATES, len(TEMPLATES))
        template = order[place]
        for draw in range(MAX_DRAWS):
            problem = template(random.Random(f"{seed}/{index}/{draw}"))
            levels = _levels(problem)
            if levels and problem.question not in asked:
                break
        else:
            raise ValueError(f"count {count} is too large: {template.__name__} has no new question")
        asked.add(problem.question)
        normal, subtle, severe = (level.text for level in levels)
        name = template.__name__
        rows.append(
            MathRow(f"math-{index + 1:04d}", problem.question, normal, subtle, severe, name, problem.expression)
        )
    return rows


def lines() -> str:
    """The file of the built-in set: its header, then its rows."""
    columns = ("id", "question", "normal", "subtle", "severe")
    rows = ({name: getattr(row, name) for name in columns} for row in generate(ROWS))
    return "".join(json.dumps(line) + "\n" for line in (HEADER, *rows))


def solve(working: str) -> Worked | None:
    """Fills in the results of a working's steps and adds "The answer is N." with the last of them.

    Steps are computed from left to right, so none may mix sums with products.

    Returns:
        The worked answer, or None if some step gives a fraction or less than 2 (so that nouns are plural).
    """
    answer = 0
    while step := _STEP.search(working):
        formula, name, slip = step.groups()
        first, *rest = formula.split()
        value = Fraction(first)
        for sign, number in zip(rest[::2], rest[1::2], strict=True):
            value = _OPERATIONS[sign](value, int(number))
        value += int(slip or 0)
        if value.denominator != 1 or value < 2:
            return None
        answer = int(value)
        working = working.replace(step[0], f"{formula} = {answer}").replace(f"[{name}]", str(answer))
    return Worked(f"{working} The answer is {answer}.", answer)


_STEP = re.compile(r"(\d+(?: [-+*/] \d+)+) = \[(\w+)([-+]\d+)?\]")
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def _levels(problem: Problem) -> tuple[Worked, Worked, Worked] | None:
    """Returns the worked answers at the three levels, or None if the drawn numbers do not suit."""
    normal, subtle, severe = solve(problem.normal), solve(problem.subtle), solve(problem.severe)
    if normal is None or subtle is None or severe is None:
        return None
    slip, error = abs(subtle.answer - normal.answer), abs(severe.answer - normal.answer)
    return (normal, subtle, severe) if 0 < 3 * slip <= normal.answer and slip < error else None


def _slip(rng: random.Random, working: str, name: str, *by: int) -> str:
    """Returns the working with the step that gives [name] wrong by plus or minus one of `by`."""
    return working.replace(f"= [{name}]", f"= [{name}{rng.choice((-1, 1)) * rng.choice(by):+d}]")


# The templates. Each draws names and numbers and returns a problem; the docstring names the slip of the subtle level
# and the wrong principle of the severe one. Numbers that do not suit need no care: `generate` then draws again.

NAMES = (
    *("Amina", "Ben", "Carla", "Daniel", "Elif", "Farah", "George", "Hana", "Ivan", "Jasmine", "Kofi", "Lena"),
    *("Marco", "Nadia", "Omar", "Priya", "Quentin", "Rosa", "Samuel", "Tara", "Uma", "Victor", "Wendy", "Yusuf"),
)
PARTS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth"}


def shopping_change(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: number and price are added."""
    name, item = rng.choice(NAMES), rng.choice(("notebooks", "sandwiches", "candles", "mugs", "plants"))
    count, price, paid = rng.randint(3, 9), rng.randint(3, 12), rng.choice((50, 100))
    work = (
        f"The {count} {item} cost {count} * {price} = [cost] dollars altogether. {name} pays with a ${paid} bill, so "
        f"the change is {paid} - [cost] = [change] dollars."
    )
    return Problem(
        f"{name} buys {count} {item} at ${price} each and pays with a ${paid} bill. How many dollars is the change?",
        f"{paid}-{count}*{price}",
        work,
        _slip(rng, work, "cost", count, price),
        work.replace(" * ", " + "),
    )


def family_tickets(rng: random.Random) -> Problem:
    """Slip: a wrong sum. Severe: everybody pays both prices."""
    place = rng.choice(("zoo", "museum", "aquarium", "castle", "water park"))
    adults, kids, price, less = rng.randint(2, 6), rng.randint(3, 9), rng.randint(11, 19), rng.randint(4, 9)
    work = (
        f"The adult tickets cost {adults} * {price} = [full] dollars. The child tickets cost {kids} * {less} = [less] "
        f"dollars. Together the group pays [full] + [less] = [total] dollars."
    )
    return Problem(
        f"A ticket for the {place} costs ${price} for an adult and ${less} for a child. "
        f"How many dollars do {adults} adults and {kids} children pay in total?",
        f"{adults}*{price}+{kids}*{less}",
        work,
        _slip(rng, work, "total", 1, 10),
        f"The whole group is {adults} + {kids} = [group] people. The prices make {price} + {less} = [both] dollars. "
        f"Together the group pays [group] * [both] = [total] dollars.",
    )


def same_speed(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: the distance is divided by the wrong time."""
    vehicle = rng.choice(("train", "bus", "truck", "ferry", "van"))
    hours, then = rng.sample(range(2, 9), 2)
    way = hours * rng.randint(20, 90)
    work = (
        f"To find the speed, divide the distance by the time: {way} / {hours} = [speed] kilometers per hour. "
        f"At that speed the {vehicle} covers [speed] * {then} = [far] kilometers."
    )
    return Problem(
        f"A {vehicle} travels {way} kilometers in {hours} hours. "
        f"How many kilometers does it travel in {then} hours at the same speed?",
        f"{way}/{hours}*{then}",
        work,
        _slip(rng, work, "far", then, 10),
        work.replace(f"/ {hours} =", f"/ {then} =").replace(f"* {then} =", f"* {hours} ="),
    )


def equal_shares(rng: random.Random) -> Problem:
    """Slip: a wrong quotient. Severe: the number of children is subtracted."""
    name, item = rng.choice(NAMES), rng.choice(("marbles", "stickers", "grapes", "shells", "cookies"))
    kept, kids, share = rng.randint(3, 12), rng.randint(4, 9), rng.randint(5, 12)
    total = kept + kids * share
    work = (
        f"After {name} keeps {kept}, there are {total} - {kept} = [left] {item} left to share. "
        f"With {kids} children, each one gets [left] / {kids} = [each] {item}."
    )
    return Problem(
        f"{name} has {total} {item}, keeps {kept} of them and shares the rest equally among {kids} children. "
        f"How many {item} does each child get?",
        f"({total}-{kept})/{kids}",
        work,
        _slip(rng, work, "each", 1),
        work.replace("[left] /", "[left] -"),
    )


def garden_area(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: the perimeter is taken for the area."""
    thing, rest = rng.choice((("pond", "lawn"), ("shed", "flower beds"), ("patio", "grass"), ("sandbox", "lawn")))
    long, wide, used = rng.randint(8, 20), rng.randint(5, 12), rng.randint(4, 15)
    work = (
        f"The area of the whole garden is {long} * {wide} = [area] square meters. The {thing} takes up {used} of them, "
        f"which leaves [area] - {used} = [rest] square meters."
    )
    return Problem(
        f"A rectangular garden is {long} meters long and {wide} meters wide. A {thing} covers {used} square meters, "
        f"and the rest is {rest}. How many square meters of {rest} are there?",
        f"{long}*{wide}-{used}",
        work,
        _slip(rng, work, "area", long, wide),
        work.replace(f"{long} * {wide}", f"{long} + {wide} + {long} + {wide}"),
    )


def fence_cost(rng: random.Random) -> Problem:
    """Slip: one side is forgotten. Severe: the area is taken for the perimeter."""
    place = rng.choice(("field", "playground", "yard", "meadow"))
    long, wide, price = rng.randint(15, 40), rng.randint(4, 14), rng.randint(3, 9)
    around = f"{long} + {wide} + {long} + {wide}"
    work = (
        f"The fence goes all the way around the {place}, so its length is {around} = [length] meters. "
        f"At {price} dollars per meter, it costs [length] * {price} = [cost] dollars."
    )
    return Problem(
        f"A rectangular {place} is {long} meters long and {wide} meters wide. A fence costs ${price} per meter. "
        f"How many dollars does a fence all the way around the {place} cost?",
        f"2*({long}+{wide})*{price}",
        work,
        work.replace(around, f"{long} + {wide} + {long}"),
        work.replace(around, f"{long} * {wide}"),
    )


def percent_without(rng: random.Random) -> Problem:
    """Slip: a wrong difference. Severe: a percentage is found by dividing by it."""
    group, act = rng.choice((("students", "walk to school"), ("workers", "cycle to work"), ("guests", "eat fish")))
    total, rate = 20 * rng.randint(6, 45), rng.choice((5, 15, 20, 25, 30, 35, 40))
    work = (
        f"First find {rate} percent of the {group}, which is {total} * {rate} / 100 = [some]. "
        f"The others, who do not {act}, are {total} - [some] = [rest] {group}."
    )
    return Problem(
        f"Of {total} {group}, {rate} percent {act}. How many of the {group} do not {act}?",
        f"{total}-{total}*{rate}/100",
        work,
        _slip(rng, work, "rest", 10, 20),
        work.replace(f"* {rate} / 100", f"/ {rate}"),
    )


def discount_price(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: the discount is added."""
    name, item = rng.choice(NAMES), rng.choice(("a jacket", "a lamp", "a backpack", "a tent", "a scooter"))
    price, off, post = 20 * rng.randint(2, 12), rng.choice((5, 10, 15, 20, 25, 30)), rng.randint(3, 9)
    work = (
        f"With {off} percent off, {name} pays 100 - {off} = [rate] percent of the price. That is {price} * [rate] / "
        f"100 = [now] dollars. With shipping it comes to [now] + {post} = [total] dollars."
    )
    return Problem(
        f"{name} orders {item} that normally costs ${price} but is {off} percent off. Shipping adds ${post}. "
        f"How many dollars does {name} pay?",
        f"{price}*(100-{off})/100+{post}",
        work,
        _slip(rng, work, "now", 2, 4, 10),
        work.replace("100 - ", "100 + "),
    )


def clock_minutes(rng: random.Random) -> Problem:
    """Slip: a wrong difference. Severe: an hour is given 100 minutes."""
    event = rng.choice(("concert", "flight", "exam", "hike", "football game", "school play"))
    start, hours, early = rng.randint(1, 8), rng.randint(2, 4), 5 * rng.randint(2, 6)
    late = early + 5 * rng.randint(1, 5)
    work = (
        f"From {start}:{early} to {start + hours}:{early} is {hours} hours, or {hours} * 60 = [whole] minutes. "
        f"From then to {start + hours}:{late} is another {late} - {early} = [rest] minutes. "
        f"Together that is [whole] + [rest] = [total] minutes."
    )
    return Problem(
        f"The {event} begins at {start}:{early} and ends at {start + hours}:{late} on the same day. "
        f"How many minutes does it last?",
        f"({start + hours}-{start})*60+{late}-{early}",
        work,
        _slip(rng, work, "rest", 5, 10),
        work.replace("* 60", "* 100"),
    )


def ages(rng: random.Random) -> Problem:
    """Slip: a wrong difference. Severe: the years to come are added."""
    old, young = rng.sample(NAMES, 2)
    gap, wait, then = rng.randint(2, 9), rng.randint(3, 9), rng.randint(14, 30)
    work = (
        f"{young} will be {then} in {wait} years, so {young} is now {then} - {wait} = [now] years old. "
        f"{old} is {gap} years older, which makes [now] + {gap} = [old] years."
    )
    return Problem(
        f"{old} is {gap} years older than {young}. In {wait} years {young} will be {then} years old. "
        f"How old is {old} now?",
        f"{then}-{wait}+{gap}",
        work,
        _slip(rng, work, "now", 1, 2),
        work.replace(f"{then} - ", f"{then} + "),
    )


def average_score(rng: random.Random) -> Problem:
    """Slip: a wrong quotient. Severe: the average is taken halfway between the extremes."""
    name, games = rng.choice(NAMES), rng.choice(("rounds", "games", "matches", "quizzes"))
    scores = [rng.randint(5, 40) for _ in range(4)]
    work = (
        f"The average takes in all the {games}, so start from {' + '.join(map(str, scores))} = [sum] points. "
        f"Dividing this by 4 gives an average of [sum] / 4 = [mean] points."
    )
    return Problem(
        f"{name} scored {scores[0]}, {scores[1]}, {scores[2]} and {scores[3]} points in four {games}. "
        f"What is the average number of points?",
        f"({'+'.join(map(str, scores))})/4",
        work,
        _slip(rng, work, "mean", 1, 2),
        f"The average lies halfway between the lowest and the highest, so start from {min(scores)} + {max(scores)} = "
        f"[sum] points. Dividing this by 2 gives an average of [sum] / 2 = [mean] points.",
    )


def ribbon_pieces(rng: random.Random) -> Problem:
    """Slip: a wrong quotient. Severe: a meter is given 10 centimeters."""
    name, item = rng.choice(NAMES), rng.choice(("ribbon", "rope", "wire", "string", "tape"))
    meters, piece = rng.randint(3, 24), rng.choice((5, 6, 8, 10, 12, 15, 20, 30))
    work = (
        f"One meter has 100 centimeters, so the {item} is {meters} * 100 = [long] centimeters long. "
        f"Cut every {piece} centimeters, it gives [long] / {piece} = [pieces] pieces."
    )
    return Problem(
        f"{name} cuts {meters} meters of {item} into pieces of {piece} centimeters. How many pieces are there?",
        f"{meters}*100/{piece}",
        work,
        _slip(rng, work, "pieces", 2, 5, 10),
        work.replace("100", "10"),
    )


def paint_ratio(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: the other color's parts are taken for all the parts."""
    one, other = rng.sample(("blue", "yellow", "red", "white", "black"), 2)
    a, b = rng.choice(((2, 3), (2, 5), (2, 7), (3, 4), (3, 5), (3, 7), (4, 5), (4, 7), (5, 6), (5, 8)))
    total = (a + b) * rng.randint(4, 16)
    work = (
        f"The mixture has {a + b} parts, and each part is {total} / {a + b} = [part] liters. "
        f"The {one} paint makes up {a} of these parts, which is {a} * [part] = [paint] liters."
    )
    return Problem(
        f"A painter mixes {one} and {other} paint in the ratio {a} to {b} and gets {total} liters in all. "
        f"How many liters of {one} paint are in the mixture?",
        f"{total}/({a}+{b})*{a}",
        work,
        _slip(rng, work, "paint", 1, a),
        work.replace(f"{a + b} parts", f"{b} parts").replace(f"/ {a + b} =", f"/ {b} ="),
    )


def gifts_in_turn(rng: random.Random) -> Problem:
    """Slip: a wrong difference. Severe: fractions are added by adding their denominators."""
    (name, first, second), item = rng.sample(NAMES, 3), rng.choice(("stamps", "coins", "postcards", "beads"))
    a, b = rng.sample(range(2, 6), 2)
    total = a * b * rng.randint(4, 15)
    work = (
        f"{first} gets {total} / {a} = [one] {item}, which leaves {total} - [one] = [left]. "
        f"{second} gets [left] / {b} = [two], so {name} has [left] - [two] = [end] {item} left."
    )
    return Problem(
        f"{name} has {total} {item} and gives one {PARTS[a]} of them to {first}. Then {name} gives one {PARTS[b]} of "
        f"the rest to {second}. How many {item} does {name} have left?",
        f"{total}-{total}/{a}-({total}-{total}/{a})/{b}",
        work,
        _slip(rng, work, "left", b, 2 * b),
        f"For both, one {PARTS[a]} and one {PARTS[b]} make one {PARTS[a + b]}, because {a} + {b} = [parts]. They "
        f"get {total} / [parts] = [gift] {item}, so {name} has {total} - [gift] = [end] {item} left.",
    )


def theater_row(rng: random.Random) -> Problem:
    """Slip: one step too many. Severe: seats are taken to grow in proportion to the row's number."""
    place = rng.choice(("theater", "stadium", "cinema", "lecture hall", "circus tent"))
    first, more, row = rng.randint(10, 30), rng.randint(2, 6), rng.randint(6, 15)
    work = (
        f"Row {row} comes {row - 1} steps after the first row, and each step adds {more} seats. That makes {row - 1} "
        f"* {more} = [added] additional seats. So row {row} has {first} + [added] = [seats] seats."
    )
    return Problem(
        f"The first row of a {place} has {first} seats, and each row after it has {more} more seats than the row "
        f"before. How many seats are in row {row}?",
        f"{first}+({row}-1)*{more}",
        work,
        work.replace(f"{row - 1} steps", f"{row} steps").replace(f"makes {row - 1}", f"makes {row}"),
        f"Row {row} must have {row} times as many seats as the first row. That makes {first} * {row} = [many] seats. "
        f"Then {more} seats are added, so row {row} has [many] + {more} = [seats] seats.",
    )


def doubling(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: doubling is taken for adding the start again."""
    what = rng.choice(("bacteria", "water fleas", "yeast cells", "algae cells", "duckweed plants"))
    start, every, times = rng.randint(5, 30), rng.randint(2, 6), rng.randint(3, 4)
    work = (
        f"In {every * times} hours there are {every * times} / {every} = [times] doublings. Each of them multiplies "
        f"the number by 2, which gives {start}{' * 2' * times} = [end] {what} in the end."
    )
    return Problem(
        f"A dish holds {start} {what}, and their number doubles every {every} hours. "
        f"How many {what} are there after {every * times} hours?",
        f"{start}{'*2' * times}",
        work,
        _slip(rng, work, "end", 4, 8, 10),
        work.replace("multiplies the number by 2", f"adds another {start}").replace(" * 2", f" + {start}"),
    )


def recipe(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: the amount grows by the same number as the people."""
    dish, food = rng.choice((("soup", "lentils"), ("salad", "beans"), ("pudding", "rice"), ("stew", "potatoes")))
    people, guests, each = rng.randint(2, 8), rng.randint(5, 14), 5 * rng.randint(5, 24)
    work = (
        f"One person needs {people * each} / {people} = [each] grams of {food}. For {guests} people the {dish} takes "
        f"{guests} times as much, so that makes [each] * {guests} = [need] grams."
    )
    return Problem(
        f"A {dish} for {people} people takes {people * each} grams of {food}. "
        f"How many grams of {food} does the {dish} take for {guests} people?",
        f"{people * each}/{people}*{guests}",
        work,
        _slip(rng, work, "need", each, 10, 100),
        f"There are {guests} - {people} = [extra] more people to feed. The amount of {food} in the {dish} goes up by "
        f"the same number, so that makes {people * each} + [extra] = [need] grams.",
    )


def savings(rng: random.Random) -> Problem:
    """Slip: a wrong quotient. Severe: the savings are added to the price."""
    name, item = rng.choice(NAMES), rng.choice(("bicycle", "guitar", "telescope", "camera", "skateboard"))
    weekly, have = rng.randint(5, 15), 5 * rng.randint(3, 16)
    price = have + weekly * rng.randint(5, 20)
    work = (
        f"{name} already has {have} dollars, so the amount still to save is {price} - {have} = [rest] dollars. "
        f"At {weekly} dollars a week, this takes [rest] / {weekly} = [weeks] weeks."
    )
    return Problem(
        f"{name} wants a {item} that costs ${price}. {name} has ${have} and saves ${weekly} every week. "
        f"How many weeks does it take to have enough?",
        f"({price}-{have})/{weekly}",
        work,
        _slip(rng, work, "weeks", 1, 2),
        work.replace(" - ", " + "),
    )


def pages_by_week(rng: random.Random) -> Problem:
    """Slip: a wrong sum. Severe: both kinds of day are counted on all seven days."""
    name, what = rng.choice(NAMES), rng.choice(("reads", "writes", "types", "translates"))
    week, end, weeks = rng.randint(6, 20), rng.randint(15, 40), rng.randint(2, 6)
    work = (
        f"The five weekdays give 5 * {week} = [days] pages and the weekend gives 2 * {end} = [ends] pages. A week has "
        f"[days] + [ends] = [week] pages, so {weeks} weeks have [week] * {weeks} = [total] pages."
    )
    return Problem(
        f"{name} {what} {week} pages a day from Monday to Friday, and {end} pages a day on Saturday and Sunday. "
        f"How many pages does that make in {weeks} weeks?",
        f"(5*{week}+2*{end})*{weeks}",
        work,
        _slip(rng, work, "week", 1, 10),
        f"Weekdays and weekend together give {week} + {end} = [day] pages a day. A week has seven days, so that is "
        f"[day] * 7 = [week] pages, and {weeks} weeks have [week] * {weeks} = [total] pages.",
    )


def temperature(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: the fall is added."""
    place = rng.choice(("desert", "mountain hut", "greenhouse", "valley", "workshop"))
    noon, fall, hours, rise = rng.randint(24, 40), rng.randint(2, 4), rng.randint(3, 7), rng.randint(3, 8)
    work = (
        f"In {hours} hours the temperature changes by {hours} * {fall} = [change] degrees, which takes it to {noon} - "
        f"[change] = [low] degrees. After the rise in the morning it is [low] + {rise} = [end] degrees."
    )
    return Problem(
        f"It is {noon} degrees in the {place}. During the night the temperature falls by {fall} degrees every hour for "
        f"{hours} hours, and in the morning it rises by {rise} degrees. What is the temperature then?",
        f"{noon}-{hours}*{fall}+{rise}",
        work,
        _slip(rng, work, "change", fall),
        work.replace(" - ", " + "),
    )


def expected_draws(rng: random.Random) -> Problem:
    """Slip: a wrong product. Severe: two colors are taken to be equally likely."""
    name, (one, other) = rng.choice(NAMES), rng.sample(("red", "green", "white", "black", "blue"), 2)
    a, b = rng.sample(range(2, 12), 2)
    draws = (a + b) * rng.randint(4, 12)
    work = (
        f"The bag holds {a} + {b} = [balls] balls, all equally likely. In {draws} draws each ball comes up about "
        f"{draws} / [balls] = [each] times, and the {one} ones together {a} * [each] = [times] times."
    )
    return Problem(
        f"A bag holds {a} {one} and {b} {other} balls. {name} draws a ball and puts it back, {draws} times in all. "
        f"How many times should {name} expect to draw a {one} ball?",
        f"{draws}/({a}+{b})*{a}",
        work,
        _slip(rng, work, "times", 1, a),
        f"The bag holds balls of 1 + 1 = [colors] colors, both equally likely. In {draws} draws each color comes up "
        f"about {draws} / [colors] = [times] times, and that is the number for the {one} balls.",
    )


def shared_work(rng: random.Random) -> Problem:
    """Slip: a wrong quotient. Severe: more workers are taken to need more time."""
    job = rng.choice(("paint a school", "harvest a field", "repair a road", "build a wall", "lay a floor"))
    few, many = rng.sample(range(2, 11), 2)
    days = few * rng.randint(2, 5)
    work = (
        f"One worker alone would need {days} * {few} = [one] days to {job}. "
        f"With {many} workers the time becomes [one] / {many} = [time] days."
    )
    return Problem(
        f"It takes {few} workers {days} days to {job}. How many days would it take {many} workers at the same pace?",
        f"{days}*{few}/{many}",
        work,
        _slip(rng, work, "time", 1, 2),
        work.replace(f"{days} *", f"{days} /").replace("[one] /", "[one] *"),
    )


def path_posts(rng: random.Random) -> Problem:
    """Slip: the post at the end is forgotten. Severe: one every few meters is read as a few for each meter."""
    item, apart = rng.choice(("tree", "lamp", "post", "flag", "statue")), rng.randint(3, 12)
    long = apart * rng.randint(6, 25)
    work = (
        f"One side of the path has {long} / {apart} = [gaps] gaps. A side has one more {item} than gaps, so that it "
        f"takes [gaps] + 1 = [side] {item}s. Both sides together take 2 * [side] = [all] {item}s."
    )
    return Problem(
        f"A straight path is {long} meters long. On each side there is a {item} every {apart} meters, including "
        f"one at each end. How many {item}s are there in all?",
        f"2*({long}/{apart}+1)",
        work,
        work.replace(f"one more {item} than gaps", f"one {item} for each gap").replace("+ 1", "* 1"),
        work.replace(f"{long} /", f"{long} *"),
    )


def farm_legs(rng: random.Random) -> Problem:
    """Slip: a wrong difference. Severe: every animal is given the legs of both kinds."""
    two, four = rng.choice((("hens", "cows"), ("ducks", "goats"), ("geese", "sheep"), ("turkeys", "pigs")))
    birds = rng.randint(5, 30)
    total = birds + rng.randint(4, 20)
    work = (
        f"The {birds} {two} have {birds} * 2 = [two] legs. The {total} - {birds} = [rest] {four} have [rest] * 4 = "
        f"[four] legs. Together they have [two] + [four] = [legs] legs."
    )
    return Problem(
        f"There are {total} animals on a farm. Of these, {birds} are {two} and the others are {four}. "
        f"How many legs do the animals have in all?",
        f"{birds}*2+({total}-{birds})*4",
        work,
        _slip(rng, work, "rest", 1),
        f"The {two} have 2 legs and the {four} have 4, so an animal counts with 2 + 4 = [each] legs. There are {total} "
        f"animals on the farm. Together they have {total} * [each] = [legs] legs.",
    )


def simple_interest(rng: random.Random) -> Problem:
    """Slip: one year is forgotten. Severe: a percent is taken for a dollar."""
    name, place = rng.choice(NAMES), rng.choice(("a bank", "a credit union", "a savings account", "a bond"))
    amount, rate, years = 100 * rng.randint(2, 15), rng.randint(2, 8), rng.randint(3, 7)
    work = (
        f"The interest for one year is {amount} * {rate} / 100 = [yearly] dollars. Over {years} years it comes to "
        f"[yearly] * {years} = [earned] dollars. With the money from the start that makes {amount} + [earned] = "
        f"[total] dollars."
    )
    return Problem(
        f"{name} puts ${amount} into {place} that pays {rate} percent simple interest each year. "
        f"How many dollars are there after {years} years?",
        f"{amount}+{amount}*{rate}/100*{years}",
        work,
        work.replace(f"Over {years}", f"Over {years - 1}").replace(f"* {years} =", f"* {years - 1} ="),
        f"At {rate} percent, the interest for one year is {rate} dollars. Over {years} years it comes to {rate} * "
        f"{years} = [earned] dollars. With the money from the start that makes {amount} + [earned] = [total] dollars.",
    )


def two_clubs(rng: random.Random) -> Problem:
    """Slip: a wrong difference. Severe: those in both clubs are added once more."""
    one, other = rng.sample(("chess", "drama", "music", "robotics", "running", "art"), 2)
    a, b, both = rng.randint(20, 45), rng.randint(20, 45), rng.randint(4, 18)
    total = a + b + rng.randint(22, 60)
    work = (
        f"The two clubs have {a} + {b} = [listed] members on their lists. Allowing for those in both, this is [listed] "
        f"- {both} = [some] students. So {total} - [some] = [rest] students are in neither."
    )
    return Problem(
        f"Of {total} students, {a} are in the {one} club and {b} in the {other} club, and {both} of these are in both. "
        f"How many students are in neither club?",
        f"{total}-({a}+{b}-{both})",
        work,
        _slip(rng, work, "some", 1, 10),
        work.replace(f"- {both} =", f"+ {both} ="),
    )


def van_hire(rng: random.Random) -> Problem:
    """Slip: the last van is forgotten. Severe: every rider is charged a whole van."""
    group, where = rng.choice((("students", "a museum"), ("players", "a match"), ("fans", "a concert")))
    seats, full, price = rng.randint(6, 12), rng.randint(4, 9), rng.randint(30, 90)
    riders = seats * full + rng.randint(2, seats - 2)
    filled = f"Filling {full} vans takes {full} * {seats} = [seated] {group}; {riders} - [seated] = [rest] are left."
    return Problem(
        f"A club takes {riders} {group} to {where} in vans with {seats} passenger seats each. Hiring a van costs "
        f"${price}. How many dollars must the club pay for the vans?",
        f"({riders}+{seats}-1)//{seats}*{price}",
        f"{filled} Rounding up to {full + 1} vans, the club pays {full + 1} * {price} = [cost] dollars.",
        f"{filled} Rounding down to {full} vans, the club pays {full} * {price} = [cost] dollars.",
        f"{filled} Counting all {riders} {group}, the club pays {riders} * {price} = [cost] dollars.",
    )


def handshakes(rng: random.Random) -> Problem:
    """Slip: everybody also meets themselves. Severe: what is counted twice is doubled instead of halved."""
    people, event = rng.randint(6, 60), rng.choice(("party", "meeting", "picnic", "reunion", "camp"))
    act, acts = rng.choice(
        (("shakes hands", "handshakes"), ("dances once", "dances"), ("plays chess once", "chess games"))
    )
    work = (
        f"Each of the {people} people meets {people - 1} others, which makes {people} * {people - 1} = [twice]. "
        f"As each pair is counted from two sides, the right number is [twice] / 2 = [pairs] {acts}."
    )
    return Problem(
        f"There are {people} people at a {event}, and everyone {act} with each of the others. "
        f"How many {acts} are there in total?",
        f"{people}*({people}-1)/2",
        work,
        work.replace(f"meets {people - 1}", f"meets {people}").replace(f"* {people - 1}", f"* {people}"),
        work.replace("[twice] /", "[twice] *"),
    )


def coins(rng: random.Random) -> Problem:
    """Slip: a quarter is given 20 cents. Severe: every coin is given both values."""
    name, place = rng.choice(NAMES), rng.choice(("a jar", "a purse", "a drawer", "a coat pocket", "a piggy bank"))
    quarters, dimes = rng.randint(3, 15), rng.randint(3, 20)
    work = (
        f"The {quarters} quarters are worth {quarters} * 25 = [quarters] cents. The {dimes} dimes are worth {dimes} * "
        f"10 = [dimes] cents. Together the coins come to [quarters] + [dimes] = [total] cents."
    )
    return Problem(
        f"{name} finds {quarters} quarters and {dimes} dimes in {place}. How many cents are they worth together?",
        f"{quarters}*25+{dimes}*10",
        work,
        work.replace("* 25", "* 20"),
        f"The quarters and dimes are {quarters} + {dimes} = [coins] coins. A quarter and a dime make 25 + 10 = [both] "
        f"cents. Together the coins come to [coins] * [both] = [total] cents.",
    )


TEMPLATES: tuple[Callable[[random.Random], Problem], ...] = (
    shopping_change,
    family_tickets,
    same_speed,
    equal_shares,
    garden_area,
    fence_cost,
    percent_without,
    discount_price,
    clock_minutes,
    ages,
    average_score,
    ribbon_pieces,
    paint_ratio,
    gifts_in_turn,
    theater_row,
    doubling,
    recipe,
    savings,
    pages_by_week,
    temperature,
    expected_draws,
    shared_work,
    path_posts,
    farm_legs,
    simple_interest,
    two_clubs,
    van_hire,
    handshakes,
    coins,
)


if __name__ == "__main__":
    builtin.path("math").write_text(lines(), "utf-8", newline="\n")
