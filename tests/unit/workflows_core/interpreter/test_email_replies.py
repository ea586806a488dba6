"""No body of an e-mail is too hostile to be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interpreted import Run
from workflows_core.interpreter import email_steps

KINDS = ["email.parseBody", "email.renderCommentBlocks"]


def read(kind: str = KINDS[0], *, semantics: int = 2, **body: str) -> Run:
    config = {name: {"$expr": f"payload.{name}"} for name in body}
    return Run({"type": kind, "config": {**config, "saveAs": "vars.m"}}, payload=body, semantics=semantics)


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
