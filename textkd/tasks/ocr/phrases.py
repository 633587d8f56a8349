"""Short English lines without end, made of a list of common words: prose, headings, receipts, figures."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import TypeVar

Item = TypeVar("Item")

SHORT = "don't can't I'll it's I'm o'clock wasn't he'd you've we're ma'am 'twas that's one's Mr. Mrs. Dr. St. etc."
MONTHS = "January February March April May June July August September October November December"
ROMAN = "I II III IV V VI VII VIII IX X XI XII XIV XV XIX XX XXIV XL"
MONEY = ("RM", "$", "USD ", "EUR ", "£", "")
GOODS = "BREAD MILK RICE TEA COFFEE SUGAR FLOUR PAPER PEN BOLT PIPE CABLE TAPE BRUSH SOAP FISH CAKE WATER OIL"
TOTALS = ("TOTAL", "SUBTOTAL", "CASH", "CHANGE", "GST 6%", "ROUNDING ADJ", "DISCOUNT", "TAX", "BALANCE", "AMOUNT")
COMMON = (
    "the of and to a in that he was it his is with as I had for you not be her on at by which have or from this but"
)
ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k kn l m n p ph pl pr qu r s sc sh sl sp st str t th tr v w wh x y z"
)
ENDS = "b ck ct d ft g ght k l ld ll lt m n nd ng nt p r rd rk rn s sh ss st t th tch v w x z"
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
STYLES = ("mixed", "prose", "receipt")


def phrase(seed: str, words: tuple[int, int] = (2, 12), style: str = "mixed") -> str:
    """A line of about `words[0]` to `words[1]` words, the same for the same seed. style: "prose" (with headings),
    "receipt" (prices, dates, codes, capitals) or "mixed" (two lines of prose for one receipt)."""
    line = _Line(random.Random(seed), words)
    receipt = style == "receipt" or (style == "mixed" and line.chance(0.33))
    return line.receipt() if receipt else line.prose()


@functools.cache
def vocabulary(file: str = "words.txt") -> tuple[str, ...]:
    """The words of a file of this package."""
    return tuple(files(__package__).joinpath(file).read_text(encoding="utf-8").split())


class _Line:
    """Draws with `random.Random.random` alone, whose values are the same in every version of Python."""

    def __init__(self, rng: random.Random, words: tuple[int, int]) -> None:
        self.rng, self.count = rng, words[0] + int(rng.random() * (words[1] - words[0] + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        return items[int(self.rng.random() * len(items))]

    def one(self, words: str) -> str:
        return self.pick(words.split())

    def name(self) -> str:
        return self.pick(vocabulary("names.txt"))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def whole(self, least: int, most: int) -> int:
        return least + int(self.rng.random() * (most - least + 1))

    def digits(self, count: int) -> str:
        return "".join(str(self.whole(0, 9)) for _ in range(count))

    def invented(self) -> str:
        """A word that nobody knows, so that letters are read and not words guessed."""
        parts = [self.one(ONSETS) + self.pick("aeiou") for _ in range(self.whole(1, 3))]
        return "".join(parts) + (self.one(ENDS) if self.chance(0.7) else "")

    def word(self) -> str:
        draw = self.rng.random()
        if draw < 0.3:
            return self.one(COMMON)  # prose is made of them
        if draw < 0.78:
            return self.pick(vocabulary())
        if draw < 0.88:
            return self.name()
        if draw < 0.95:
            return self.invented()
        return self.one(SHORT) if draw < 0.98 else str(self.whole(0, 9999))

    def prose(self) -> str:
        if self.chance(0.08):
            return self._heading()
        words = [self.word() for _ in range(self.count)]
        for place in range(len(words) - 1):
            if self.chance(0.1):
                words[place] = words[place].rstrip(".") + self.pick((",", ",", ",", ";", ":", ".", " —", "—\b", "--"))
            elif self.chance(0.02):
                words[place] = self.pick(("({})", '"{}"', "[{}]", "_{}_", "*{}*")).format(words[place])
        if self.chance(0.5):
            words[0] = words[0][:1].upper() + words[0][1:]
        line = " ".join(words) + (self.pick((".", ".", ".", ",", "?", "!", ";", "-", ":")) if self.chance(0.5) else "")
        line = line.replace("..", ".").replace(".,", ",").replace("\b ", "")
        if self.chance(0.12):
            line = self.pick(('"{}"', '"{}', '{}"', "'{}'")).format(line)
        return line

    def _heading(self) -> str:
        words = [self.word() for _ in range(max(1, min(self.count, 5)))]
        title = " ".join(words).upper()
        makers: tuple[Callable[[], str], ...] = (
            lambda: title,
            lambda: " ".join(words).title().replace("'S", "'s"),
            lambda: f"CHAPTER {self.one(ROMAN)}",
            lambda: f"{self.whole(1, 600)} {title}",
            lambda: f"{title} {self.whole(1, 600)}",
            lambda: f"{self.one(ROMAN)}. {title}",
        )
        return self.pick(makers)()

    def receipt(self) -> str:
        parts = [self.pick(self._parts())() for _ in range(1 if self.count < 3 else self.whole(1, 3))]
        return " ".join(parts)

    def _parts(self) -> tuple[Callable[[], str], ...]:
        day, month, year = self.whole(1, 28), self.whole(1, 12), self.whole(1850, 2029)
        name = MONTHS.split()[month - 1]
        dates = (f"{day:02}/{month:02}/{year}", f"{year}-{month:02}-{day:02}", f"{day} {name} {year}")
        return (
            lambda: f"{self.one(GOODS)} {self.whole(1, 12)} X {self.price()}",
            lambda: f"{self.pick(TOTALS)}{self.pick((':', ' :', ''))} {self.pick(MONEY)}{self.price()}",
            lambda: self.pick(MONEY) + self.price(),
            lambda: self.pick((*dates, f"{name} {day}, {year}", f"DATE: {dates[0]}")),
            lambda: f"{self.whole(0, 23):02}:{self.whole(0, 59):02}:{self.whole(0, 59):02}",
            lambda: f"{self.pick(('TEL', 'FAX', 'Tel.'))}: 0{self.digits(1)}-{self.digits(4)} {self.digits(4)}",
            lambda: f"{self.pick(('INV', 'TD', 'CS', 'No. ', 'REF '))}{self.digits(self.whole(4, 10))}",
            lambda: f"({self.digits(6)}-{self.pick('ABDHKMPTUVWX')})",
            lambda: f"NO. {self.whole(1, 300)}, {self.name().upper()} {self.pick(('ROAD', 'STREET', 'LANE'))},",
            lambda: f"{self.whole(1, 100)}{self.pick(('%', 'KG', 'ML', ' PCS', '/2', '@'))}",
            lambda: " ".join(self.word() for _ in range(self.whole(1, 3))).upper(),
            lambda: "".join(self.pick(SIGNS) for _ in range(self.whole(1, 3))) + self.word(),
            lambda: f"{self.name().lower()}@{self.invented()}.com",
        )

    def price(self) -> str:
        amount = self.whole(0, 99) if self.chance(0.7) else self.whole(100, 9999)
        cents = f"{self.whole(0, 99):02}"
        return f"{'-' if self.chance(0.05) else ''}{amount:,}.{cents}"
