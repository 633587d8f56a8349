"""Tiny tables of lines, and readers that read them: the number of a line is its brightness."""

from PIL import Image

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


class Table:
    """Line i is a grey image of brightness i. texts: WORDS in turn unless given."""

    def __init__(self, count=10, texts="words", name="table"):
        self.count, self.name = count, name
        self.texts = [WORDS[i % len(WORDS)] for i in range(count)] if texts == "words" else texts

    def __len__(self):
        return self.count

    def image(self, index):
        return Image.new("RGB", (8, 2), (index,) * 3)

    def digest(self):
        return f"{self.name} {self.count} {self.texts}"


class WordReader:
    """Reads WORDS, with the confidence 0.5 + i / 100. read: the lines it was shown. wrong: line -> what it reads
    instead. dies_at: the line that kills it."""

    def __init__(self, name="reader", wrong=None, dies_at=None):
        self.name, self.wrong, self.dies_at, self.read = name, wrong or {}, dies_at, []

    def __call__(self, images):
        numbers = [image.getpixel((0, 0))[0] for image in images]
        if self.dies_at in numbers:
            raise KeyboardInterrupt
        self.read += numbers
        return [(self.wrong.get(i, WORDS[i % len(WORDS)]), 0.5 + i / 100) for i in numbers]

    def fingerprint(self):
        return self.name
