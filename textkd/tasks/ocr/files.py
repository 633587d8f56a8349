"""Lines from files: parquet with image bytes, csv/tsv/json(l) with image paths, a folder of images with metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from textkd.errors import Collector, Problem, TextkdError, fail, problem, reading
from textkd.models.files import at_home
from textkd.models.images import check_image, open_image
from textkd.tasks.data.encodings import UTF_8
from textkd.tasks.data.formats import Table, read_table
from textkd.tasks.data.parquet import open_parquet
from textkd.tasks.data.sources import FileSource, file_source
from textkd.tasks.data.unused import unused_options
from textkd.tasks.ocr.linetable import LineTable, Origin, capped, digest_of
from textkd.tasks.ocr.texts import check_texts
from textkd.tasks.text.where import select

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "metadata.tsv")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pnm", ".pgm", ".ppm", ".jp2", ".avif")
COLUMNS = (  # what to do where a column has another name
    "name the columns beside the place, as train: {{{}, image: COLUMN, text: COLUMN}} (with textkd eval: image=COLUMN "
    "text=COLUMN); for lines without transcription: unlabelled: true there"
)
ROW = "\0row"  # no column of a file is called that


class FileLines(LineTable):
    """The rows of one file: a column of images (bytes, {bytes, path} structs, or paths relative to `folder`, by
    default the file's own) and one of texts.

    where: {column: value or list of values} keeps those rows only. unlabelled: the texts are None, their column may
    be missing. Raises `TextkdError` with all that is wrong in rows and texts, and then with the images' own problems
    too; where these stand alone, `problems` tells them.
    """

    def __init__(
        self,
        path: str | Path,
        image: str | None = None,
        text: str = "text",
        where: Mapping[str, Any] | None = None,
        unlabelled: bool = False,
        delimiter: str | None = None,
        quoted: bool | None = None,
        folder: Path | None = None,
        encoding: str = UTF_8,
    ) -> None:
        origin = file_source(path, delimiter=delimiter, quoted=quoted, encoding=encoding)
        if wrong := unused_options(
            {"delimiter": delimiter, "quoted": quoted, "encoding": encoding}, [origin.dialect.kind]
        ):
            raise TextkdError(*wrong)
        self.path, self.source, self._origin = origin.path, str(origin.path), origin
        self.folder = folder or origin.path.parent
        self._settings = [image, text, dict(where or {}), unlabelled, delimiter, quoted]
        self._settings += [] if encoding == UTF_8 else [encoding]
        table, self._images = _read(origin, image, [] if unlabelled else [text], list(where or {}))
        table = select(table, where or {}, self.source)
        self._unit, self._lines = table.unit, table.lines
        self._cells: list[Any] = table.column(ROW)
        self._fill(table, text, unlabelled)

    def _fill(self, table: Table, text: str, unlabelled: bool) -> None:
        collector = Collector()
        fix = "repair the row, or leave it out"
        if table.reads_as:
            fix += f"; {{path: ..., encoding: {table.reads_as}}}, if the whole file was saved so"
        damaged = [
            problem(f"{self.source}, {table.unit} {line}: a whole row", what, fix=fix)
            for line, what in sorted(table.damaged)
        ]
        collector.add(*capped(damaged, self.source, "rows"))
        self._texts: list[Any] = [None] * len(table.rows)
        if not unlabelled:
            places = [self.where(index) for index in range(len(table.rows))]
            self._texts, bad = check_texts(zip(places, table.column(text), strict=True), text)
            collector.add(*capped(bad, self.source, "texts"))
        if not table.rows and not damaged:
            collector.add(problem(f"rows in {self.source}", "the file has no rows (a header alone is no data)"))
        collector.add(*self._path_problems())
        if collector.problems:
            with collector.collecting():
                self.problems()
        collector.raise_any()

    def _path_problems(self) -> list[Problem]:
        """What is wrong with where images lie, before any is opened."""
        return []

    @property
    def texts(self) -> Sequence[str | None]:
        return self._texts

    @property
    def notes(self) -> list[str]:
        if not hasattr(self, "_origin") or self._origin.dialect.kind != "tsv" or self._origin.dialect.quoted:
            return []
        quoted = sum(len(text or "") > 1 and text[0] == text[-1] == '"' for text in self._texts)
        hint = "are read with their quotes; quoted: true beside path: reads them as a CSV's"
        return [f"{self.source}: {quoted:,} texts in quotes {hint}"] if quoted else []

    def where(self, index: int) -> str:
        return f"{self.source}, {self._unit} {self._lines[index]}"

    def origin(self, index: int) -> Origin:
        return self.where(index), None

    def _data(self, index: int) -> Any:
        """Encoded bytes, or the path of an image."""
        cell = self._cells[index]
        if self._images is not None:
            cell = self._images[cell].as_py()
        if isinstance(cell, Mapping):
            cell = cell.get("bytes") or cell.get("path")
        if not isinstance(cell, str):
            return cell
        if not cell:
            raise fail(f"{self.where(index)}: the path of an image", "an empty cell")
        return cell if cell.startswith(("http:", "https:")) else self.folder / cell

    def image(self, index: int) -> Image.Image:
        return open_image(self._data(index), self.where(index))

    def check_header(self, index: int) -> None:
        check_image(self._data(index), self.where(index))

    def digest(self) -> str:
        files = []
        for index in range(len(self)):
            data = self._data(index)
            if isinstance(data, Path):
                files.append([str(self._cells[index]), _sha256(data)])
        return digest_of("file", self._origin.digest(), self._settings, files)


class FolderLines(FileLines):
    """An image folder as `datasets` has it: metadata.csv (.jsonl, .parquet, .tsv) with a column `file_name` beside the
    texts, the names relative to the folder and inside it. Without metadata: all images below the folder, by name, if
    `unlabelled`."""

    def __init__(self, path: str | Path, image: str | None = None, unlabelled: bool = False, **options: Any) -> None:
        folder = at_home(path)
        metadata = next((folder / name for name in METADATA if (folder / name).is_file()), None)
        if metadata is None:
            self._list_images(folder, unlabelled)
            self._refuse({"image": image, **options})
            return
        super().__init__(metadata, image=image or "file_name", unlabelled=unlabelled, folder=folder, **options)

    def _refuse(self, options: dict[str, Any]) -> None:
        """Options about a table, which the folder has not."""
        found = f"it is about {METADATA[0]} or another file of rows, and {self.folder} holds images alone"
        wrong = [problem(f"{name}: {value!r}", found, fix="leave it out", where=name)
                 for name, value in options.items() if value is not None]  # fmt: skip
        if wrong:
            raise TextkdError(*wrong)

    def _path_problems(self) -> list[Problem]:
        root, outside = self.folder.resolve(), list[Problem]()
        for index in range(len(self)):
            with suppress(TextkdError):  # an empty cell is told with the images
                data = self._data(index)
                if isinstance(data, Path) and not data.resolve().is_relative_to(root):
                    asked = f"{self.where(index)}: an image inside {self.folder}"
                    outside.append(problem(asked, str(data), fix="name files relative to the folder"))
        return capped(outside, self.source, "paths")

    def _list_images(self, folder: Path, unlabelled: bool) -> None:
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not names or not unlabelled:
            shown = ", ".join(sorted(p.name for p in folder.iterdir())[:12])
            fix = "write metadata.csv with the columns file_name and text, or name a parquet file of the folder"
            fix += "; lines without transcription need unlabelled: true" if names else ""
            raise fail(f"{METADATA[0]} or {METADATA[1]} in {folder}", f"the folder holds {shown or 'nothing'}", fix=fix)
        self.source, self.folder, self._images, self._unit = str(folder), folder, None, "image"
        self._cells, self._lines, self._texts = list(names), list(range(1, len(names) + 1)), [None] * len(names)

    def digest(self) -> str:
        if hasattr(self, "_origin"):
            return super().digest()
        return digest_of("folder", [[name, _sha256(self.folder / name)] for name in self._cells])


def _sha256(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _read(
    origin: FileSource, image: str | None, due: Sequence[str], more: Sequence[str]
) -> tuple[Table, pa.ChunkedArray | None]:
    """The rows with a last column ROW: the image's path, or its place in the column of images that is returned too.
    due, more: columns that must be there, of texts and of `where`."""
    if origin.dialect.kind == "parquet":
        return _read_parquet(origin, image, due, more)
    table = read_table(origin.path, origin.dialect)
    column = _check_columns(table.names, image, [*due, *more], str(origin))
    cells = table.column(column)
    rows = [[*row, cell] for row, cell in zip(table.rows, cells, strict=True)]
    return Table((*table.names, ROW), rows, table.lines, table.damaged, table.unit, reads_as=table.reads_as), None


def _read_parquet(
    origin: FileSource, image: str | None, due: Sequence[str], more: Sequence[str]
) -> tuple[Table, pa.ChunkedArray]:
    if not origin.path.is_file():
        read_table(origin.path, origin.dialect)  # says that the file is missing, and what is there
    with reading(f"rows in {origin}", fix="write the file again"):
        file = open_parquet(origin.path)
        known = tuple(file.schema_arrow.names)
        column = _check_columns(known, image, [*due, *more], str(origin))
        names = tuple(dict.fromkeys([*due, *more]))
        content = file.read(columns=list(dict.fromkeys([column, *names])))
    images = content.column(column)
    if pa.types.is_dictionary(images.type):
        images = images.cast(images.type.value_type)
    if not (pa.types.is_struct(images.type) or _is_text_or_bytes(images.type)):
        found = f"the type {images.type}"
        raise fail(f"images in column {column!r} of {origin}", found, fix="store encoded bytes, or {bytes, path}")
    cells = [_cells(content.column(name)) for name in names]
    count = content.num_rows
    rows = list(zip(*cells, range(count), strict=True))
    return Table((*names, ROW), rows, list(range(1, count + 1)), unit="row"), images


def _is_text_or_bytes(kind: pa.DataType) -> bool:
    return any(check(kind) for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string)) or bool(
        pa.types.is_large_string(kind)
    )


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """Python values; texts whose bytes are not UTF-8 stay bytes, so that their row can be named."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return list(column.cast(pa.large_binary()).to_pylist())


def _check_columns(names: Sequence[str], image: str | None, due: Sequence[str], shown: str) -> str:
    """The column of images. Raises one problem for each column that is missing."""
    if not names:
        raise fail(f"rows in {shown}", "the file has no rows")
    if image is None:
        image = next((name for name in ("image", "file_name") if name in names), "image")
    missing = [name for name in dict.fromkeys([image, *due]) if name not in names]
    found = f"the columns {', '.join(map(repr, names))}"
    fix = COLUMNS.format("path: FILE")
    if missing:
        raise TextkdError(*(problem(f"column {n!r} in {shown}", found, near=(n, names), fix=fix) for n in missing))
    return image
