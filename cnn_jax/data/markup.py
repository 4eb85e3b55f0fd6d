"""XML of a stranger: small trees without entities, read with what Python has, and no more than that."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from cnn_jax.paths import printable

BYTES = 2**26  # of a file at most
DEPTH = 50  # of elements in one another at most


def read_xml(file: Path) -> Element:
    """The root element. Raises ValueError, in one line that names the file, for what is no such XML.

    A document type is refused, as entities are defined there: those that grow without end, and those that name files.
    """
    what = f"'{printable(file)}'"
    if file.stat().st_size > BYTES:
        raise ValueError(f"{what} has more than {BYTES:,} bytes, too many for an annotation")
    builder, depth = TreeBuilder(), 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"{what} is nested too deeply for an annotation")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def doctype(*_: object) -> None:
        raise ValueError(f"{what} has a document type (<!DOCTYPE), which annotations do not need: remove it")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(file.read_bytes(), True)
    except (expat.ExpatError, LookupError) as error:  # the latter: an encoding that there is not
        raise ValueError(f"{what} is no XML ({error})") from None
    return builder.close()
