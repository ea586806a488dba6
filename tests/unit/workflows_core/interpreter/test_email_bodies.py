"""What a body says, by example and for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.interpreter.email_bodies import comment_blocks, parsed_body

REPLY = """Thanks, that works.
> not a quote, I say so below
Right.
--{blank}
Anna
Example Ltd

On Mon, 2 Mar 2026 at 09:00, Bert <bert@example.org> wrote:
> Does it work?
> Bert
""".format(blank=" ")


def test_the_new_text_the_signature_and_the_quoted_conversation() -> None:
    found = parsed_body(REPLY, "")
    assert found["text"] == "Thanks, that works.\n> not a quote, I say so below\nRight."
    assert found["signature"] == "Anna\nExample Ltd"
    assert found["quoted"].startswith("On Mon, 2 Mar 2026")
    assert found["source"] == "text"


@pytest.mark.parametrize(
    "line",
    [
        "-----Original Message-----",
        "---------- Forwarded message ----------",
        "Am 2. März 2026 schrieb Bert:",
        "Le 2 mars 2026, Bert a écrit :",
        "From: Bert <bert@example.org>",
    ],
)
def test_what_begins_a_quoted_conversation(line: str) -> None:
    found = parsed_body(f"New.\n\n{line}\nOld.", "")
    assert (found["text"], found["quoted"]) == ("New.", f"{line}\nOld.")


def test_html_is_read_where_there_is_no_text() -> None:
    html = (
        "<style>p {}</style><p>New &amp; <b>bold</b></p><ul><li>one</li><li>two</li></ul><blockquote>Old</blockquote>"
    )
    assert parsed_body("", html)["text"] == "New & bold\n\none\n\ntwo"
    assert parsed_body("", html)["quoted"] == "> Old"
    assert parsed_body(" ", "") == {"text": "", "quoted": "", "signature": "", "source": "none"}


def test_blocks_of_html() -> None:
    html = "<h2>Title</h2>text<div>line<br>break</div><pre>a\n  b</pre><blockquote><p>q</p></blockquote><p> </p><hr>"
    assert comment_blocks("unused", html) == [
        {"type": "heading", "level": 2, "text": "Title"},
        {"type": "paragraph", "text": "text"},
        {"type": "paragraph", "text": "line\nbreak"},
        {"type": "code", "text": "a\n  b"},
        {"type": "quote", "text": "q"},
    ]


def test_a_tag_ends_those_inside_it_that_nobody_closed() -> None:
    assert comment_blocks("", "<blockquote><div><p>theirs</blockquote>mine") == [
        {"type": "quote", "text": "theirs"},
        {"type": "paragraph", "text": "mine"},
    ]


def test_blocks_of_text() -> None:
    assert comment_blocks("one\ntwo\n\n> q1\n> q2\n", "") == [
        {"type": "paragraph", "text": "one\ntwo"},
        {"type": "quote", "text": "q1\nq2"},
    ]


@given(st.text(max_size=300), st.text(alphabet="<>/apdivbrlockquote &;\n", max_size=300))
def test_no_body_is_too_odd_and_no_word_of_the_text_is_lost(text: str, html: str) -> None:
    found = parsed_body(text, html)
    assert all(isinstance(value, str) for value in found.values())
    if found["source"] == "text":
        words = "".join("".join((found["text"], found["signature"], found["quoted"])).split())
        assert len(words) >= len("".join(text.replace("\r\n", "\n").split())) - 2, "at most the mark of a signature"
    assert all(block["text"].strip() for block in comment_blocks(text, html))
