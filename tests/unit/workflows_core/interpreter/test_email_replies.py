"""What somebody has answered is found in what their client has sent, whatever else stands in it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from html import escape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interpreted import Run
from workflows_core.interpreter import email_steps
from workflows_core.interpreter.email_bodies import comment_blocks, parsed_body

KINDS = ["email.parseBody", "email.renderCommentBlocks"]
ATTRIBUTION = "On Mon, 2 Mar 2026 at 09:00, Bob <b@x.org> wrote:"


def read(kind: str = KINDS[0], *, semantics: int = 2, **body: str) -> Run:
    config = {name: {"$expr": f"payload.{name}"} for name in body}
    return Run({"type": kind, "config": {**config, "saveAs": "vars.m"}}, payload=body, semantics=semantics)


@pytest.mark.parametrize(
    ("body", "text", "quoted"),
    [
        (f"{ATTRIBUTION}\n> Which size?\n\nSize 44, please.", "Size 44, please.", f"{ATTRIBUTION}\n> Which size?"),
        (
            f"Hello.\n\n{ATTRIBUTION}\n\n> Which size?\n44.\n> Which colour?\n> Bob\n\nRed.\n",
            "Hello.\n\n44.\n\nRed.",
            f"{ATTRIBUTION}\n\n> Which size?\n\n> Which colour?\n> Bob",
        ),
        (f"New.\n\n> {ATTRIBUTION}\n> \n> Old\n\nBelow.", "New.\n\nBelow.", f"> {ATTRIBUTION}\n> \n> Old"),
        ("From: accounting\nWe need the invoice again.", "From: accounting\nWe need the invoice again.", ""),
        ("From: accounting\n\nTo: us it is new.", "From: accounting\n\nTo: us it is new.", ""),
        ("This\n__________\nor that", "This\n__________\nor that", ""),
        ("On the phone Bob wrote:\nwe pay.", "On the phone Bob wrote:\nwe pay.", ""),
        (
            f"On second thought, we need 3 of them, since those that came were too small.\n{ATTRIBUTION}\n> How many?",
            "On second thought, we need 3 of them, since those that came were too small.",
            f"{ATTRIBUTION}\n> How many?",
        ),
        ("On reflection 3 will do.\nBob <b@x.org> wrote:\n> How many?\nThanks", None, ""),
        (
            (
                "New.\n\nOn Mon, Mar 2, 2026 at 9:00 AM Johnathan Alexander Doe-Smith via Requests\n"
                "<johnathan.alexander.doe-smith.of.the.northern.branch@mail.example.com>\nwrote:\n\n> Old"
            ),
            "New.",
            (
                "On Mon, Mar 2, 2026 at 9:00 AM Johnathan Alexander Doe-Smith via Requests\n"
                "<johnathan.alexander.doe-smith.of.the.northern.branch@mail.example.com>\nwrote:\n\n> Old"
            ),
        ),
        ("> cited by hand\nI disagree.", "> cited by hand\nI disagree.", ""),
    ],
)
def test_an_answer_stays_wherever_it_stands(body: str, text: str | None, quoted: str) -> None:
    found = read(text=body).state.scopes.vars["m"]
    assert (found["text"], found["quoted"]) == (body if text is None else text, quoted)


def test_an_answer_below_a_quote_is_no_signature() -> None:
    found = parsed_body(f"Hello.\n-- \nAnna\n\n{ATTRIBUTION}\n> Which size?\n\n44.\n-- \nAnna again", "")
    assert (found["text"], found["signature"]) == ("Hello.\n\n44.", "Anna\n\nAnna again")


@pytest.mark.parametrize(
    ("html", "text", "quoted"),
    [
        ("<p>New text</p><blockquote>one<br>two</blockquote>", "New text", "> one\n> two"),
        (
            f"<div>New</div><br><blockquote type=cite><div>{escape(ATTRIBUTION)}</div><br>Old</blockquote>Below",
            "New\n\nBelow",
            f"> {ATTRIBUTION}\n\n> Old",
        ),
        ("<table><tr><th>Size</th> <th>Number</th></tr><tr><td>44<td>2</table>", "Size\tNumber\n\n44\t2", ""),
        ("<table><tr><td><p>one</p></td><td>two</td><td></td></tr></table>", "one\n\ntwo", ""),
        ("<dl><dt>Size<dd>44<dt>Number</dt><dd>2</dd></dl>", "Size\n\n44\n\nNumber\n\n2", ""),
        ("<center>one</center>two", "one\n\ntwo", ""),
        ("<html><head><title>no</title><style>p {}</style><body>Hello", "Hello", ""),
        ("<head><title>no <p> no</title><meta x><p>Hello", "Hello", ""),
        ("<head><title>no</title><td>one<td>two", "one\ttwo", ""),
        ("<head>no</head>Hello", "Hello", ""),
    ],
)
def test_html_loses_nothing_and_glues_nothing(html: str, text: str, quoted: str) -> None:
    found = read(html=html).state.scopes.vars["m"]
    assert (found["text"], found["quoted"]) == (text, quoted)


@pytest.mark.parametrize(
    ("kind", "body", "found"),
    [
        (KINDS[0], {"text": f"{ATTRIBUTION}\n> q\n\na"}, {"text": "", "quoted": f"{ATTRIBUTION}\n> q\n\na"}),
        (KINDS[0], {"text": "From: me\nnew"}, {"text": "", "quoted": "From: me\nnew"}),
        (KINDS[0], {"html": "new<blockquote>q<br>r</blockquote>"}, {"text": "new\n\n> q\nr", "quoted": ""}),
        (KINDS[0], {"html": "<td>a<td>b"}, {"text": "ab", "quoted": ""}),
        (KINDS[1], {"html": "<td>a<td>b<center>c"}, [{"type": "paragraph", "text": "abc"}]),
        (KINDS[1], {"html": "<head><body>a"}, []),
        (KINDS[1], {"text": "a\n\n> q"}, [{"type": "paragraph", "text": "a"}, {"type": "quote", "text": "q"}]),
    ],
)
def test_a_run_that_began_with_the_first_meaning_reads_as_it_did(kind: str, body: dict[str, str], found: Any) -> None:
    read_so = read(kind, semantics=1, **body).state.scopes.vars["m"]
    if isinstance(found, dict):
        found = {**found, "signature": "", "source": next(iter(body))}
    assert read_so == found


@pytest.mark.parametrize("semantics", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_number_of_thousands_of_digits_is_no_character(kind: str, semantics: int) -> None:
    html = f"a&#{'1' * 5000};b&#{'1' * 5000}c&#{'0' * 5000}65;d&#{'0' * 5000};e&#1114112;f&#1114111;&#x{'f' * 5000};"
    run = read(kind, html=html, semantics=semantics)
    assert run.outcome == "SUCCEEDED"
    found = run.state.scopes.vars["m"]
    text = found["text"] if isinstance(found, dict) else found[0]["text"]
    assert text == "a\ufffdb\ufffdcAd\ufffde\ufffdf\ufffd"


@pytest.mark.parametrize(("kind", "reader"), [(KINDS[0], "parsed_body"), (KINDS[1], "comment_blocks")])
def test_a_body_that_makes_the_reader_raise_fails_the_step(
    monkeypatch: pytest.MonkeyPatch, kind: str, reader: str
) -> None:
    def broken(text: str, html: str) -> Any:
        raise IndexError("of " + text)

    monkeypatch.setattr(email_steps, reader, broken)
    failure = read(kind, text="a body").failure
    assert (failure.code, failure.category) == ("EMAIL_BODY_UNREADABLE", "ValidationError")
    assert failure.message == "the body of the e-mail cannot be read (IndexError)"


TAGS = "<head> </head> <body <body> <td> <th/> <dd> <blockquote> </blockquote <pre> <br> <title> <script> <style"
ODD = "&# &#0; &#xD800; &amp &#x <!-- --> <![CDATA[ =' > < </ : * _____________ wrote: From: To:"
LINES = [
    "\n> ",
    "\n-----Original Message-----\n",
    "\nOn 1 ",
    " wrote:\n",
    "\nAm 1 x schrieb ",
    "\nFrom: ",
    "\nTo:",
    "\n-- \n",
    "\n",
    "\r",
    "\t",
    "\u2028",
    "\x00",
]
LONG = ["&#" + "1" * 5000, "&#" + "0" * 5000, "&#x" + "f" * 5000 + ";", "&" + "a" * 40, "\ud800"]
HOSTILE = st.sampled_from([*TAGS.split(), *ODD.split(), *LINES, *LONG])


@given(st.lists(HOSTILE | st.text(max_size=9), max_size=25).map("".join), st.booleans(), st.sampled_from([1, 2]))
def test_no_body_is_too_hostile(body: str, html: bool, semantics: int) -> None:
    for kind in KINDS:
        run = read(kind, semantics=semantics, **{"html" if html else "text": body})
        assert run.outcome == "SUCCEEDED"


def paragraph(alphabet: str) -> st.SearchStrategy[str]:
    line = st.text(alphabet=alphabet, max_size=90).map(lambda text: " ".join(text.split()))
    return st.lists(line, min_size=1, max_size=6).map("\n".join)


ANYTHING = st.text(max_size=400)
MARKS = re.compile(r"^(?:>|[\s>*]*(?:On |Am |Le |From|Von|De|-|_))", re.IGNORECASE | re.MULTILINE)


@given(ANYTHING.filter(lambda text: not MARKS.search(text)))
def test_a_text_that_quotes_nobody_is_given_back(text: str) -> None:
    found = parsed_body(text, "")
    assert (found["text"], found["quoted"]) == (text.replace("\r\n", "\n").strip(), "")


def marked(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))


def lines_of_html(text: str) -> str:
    return "<br>".join(escape(line) for line in text.split("\n"))


def attribution(name: str) -> str:
    return f"On Mon, Mar 2, 2026 at 9:00\u202fAM {name} <{name.replace(' ', '.').lower()}@example.com> wrote:"


def folded(name: str, width: int) -> str:
    lines = textwrap.wrap(attribution(name), width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


Client = Callable[[str, str, str, str], tuple[str, str]]
"""Of the answer above, the quoted text, the answer below and the name of who is quoted: the plain body and the HTML."""


def folds_at(width: int) -> Client:
    def client(above: str, old: str, below: str, name: str) -> tuple[str, str]:
        return f"{above}\n\n{folded(name, width)}\n\n{marked(old)}\n\n{below}", ""

    return client


def folds_inside_the_address(above: str, old: str, below: str, name: str) -> tuple[str, str]:
    line = attribution(name)
    line = line.replace(" <", " <\n") if len(line) > 78 else line
    return f"{above}\n\n{line}\n{marked(old)}\n{below}", ""


def marks_the_attribution(above: str, old: str, below: str, name: str) -> tuple[str, str]:
    return f"{above}\n\n{marked(folded(name, 75))}\n> \n{marked(old)}\n\n{below}", ""


def german(above: str, old: str, below: str, name: str) -> tuple[str, str]:
    return f"{above}\r\n\r\nAm 02.03.26 um 09:00 schrieb {name}:\r\n{marked(old)}\r\n{below}", ""


def html(above: str, old: str, below: str, name: str) -> tuple[str, str]:
    quote = f"<div>{escape(attribution(name))}<br></div><blockquote style='x'>x{lines_of_html(old)}</blockquote>"
    head = "<html><head><title>x</title></head>"
    return "", f"{head}<body><div>{lines_of_html(above)}</div><br><div>{quote}</div><p>{lines_of_html(below)}"


def html_with_the_attribution_inside(above: str, old: str, below: str, name: str) -> tuple[str, str]:
    quote = f"<div>{escape(attribution(name))}</div><br><div>x{lines_of_html(old)}</div>"
    return "", f"{lines_of_html(above)}<div><blockquote type='cite'>{quote}</blockquote></div>{lines_of_html(below)}"


def header_block(above: str, old: str, _: str, name: str) -> tuple[str, str]:
    return f"{above}\n\nFrom: {name}\nSent: Monday\nTo: me\nSubject: x\n\n{old}", ""


def rule_and_foreign_header_block(above: str, old: str, _: str, name: str) -> tuple[str, str]:
    return f"{above}\n\n{'_' * 32}\nDe: {name}\nEnviado: lunes\nPara: me\n\n{old}", ""


def html_header_block(above: str, old: str, _: str, name: str) -> tuple[str, str]:
    header = f"<p><b>From:</b> {name}<br><b>Sent:</b> Monday<br><b>To:</b> me</p>"
    return "", f"<p>{lines_of_html(above)}</p><div>{header}</div>{lines_of_html(old)}"


def attribution_alone(above: str, old: str, _: str, name: str) -> tuple[str, str]:
    return f"{above}\n\n{attribution(name)}\nx{old}", ""


MARKING = [
    folds_at(78),
    folds_at(72),
    folds_inside_the_address,
    marks_the_attribution,
    german,
    html,
    html_with_the_attribution_inside,
]
NOT_MARKING = [header_block, rule_and_foreign_header_block, html_header_block, attribution_alone]

ANSWERS = paragraph("abcxyzé 0123.,:!&<")
NAMES = st.lists(st.text("abcdefgé-", min_size=1, max_size=14), min_size=1, max_size=3).map(" ".join)
OLD = paragraph("abc On19wrote:>&;<br/>- _") | ANYTHING.map(lambda text: " ".join(text.split()))


def normalised(*answers: str) -> str:
    joined = "\n\n".join(filter(None, (answer.strip() for answer in answers)))
    return re.sub(r"\n+", "\n", joined)


@pytest.mark.parametrize("client", MARKING)
@given(ANSWERS, OLD, ANSWERS, NAMES)
def test_what_is_answered_above_and_below_is_found(client: Client, above: str, old: str, below: str, name: str) -> None:
    found = parsed_body(*client(above, old, below, name))
    assert normalised(found["text"]) == normalised(above, below)


@pytest.mark.parametrize("client", NOT_MARKING)
@given(ANSWERS, OLD, NAMES)
def test_what_is_answered_above_is_found(client: Client, above: str, old: str, name: str) -> None:
    found = parsed_body(*client(above, old, "", name))
    assert normalised(found["text"]) == normalised(above)


@given(ANSWERS, ANSWERS)
def test_cells_are_apart(one: str, two: str) -> None:
    html = f"<table><tr><td>{lines_of_html(one)}</td><td>{lines_of_html(two)}</td></tr></table>"
    said = " ".join(block["text"] for block in comment_blocks("", html))
    assert said.split() == f"{one} {two}".split()
