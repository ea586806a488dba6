"""What a body says, by example and for any text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interpreted import Run, document
from workflows_core.definitions.parse import parse_definition
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter import email_quotes, former_bodies, html_blocks, html_pieces
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.email_bodies import comment_blocks, parsed_body
from workflows_core.interpreter.former_bodies import former_comment_blocks
from workflows_core.interpreter.messages import Begin
from workflows_core.interpreter.step import initial_state, step

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
        "________________\nVon: Bert\nGesendet: Montag",
        "From: Bert <bert@example.org>\nSent: Monday",
        "*From:* Bert <bert@example.org>\n *On behalf of* Anna\n*To:* me",
        "De : Bert\nÀ : moi",
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
        signed = text.replace("\r\n", "\n").split("\n")
        marks = sum(line.rstrip(" ") == "--" for line in signed)
        assert len(words) >= len("".join(text.split())) - 2 * marks, "at most the marks of signatures"
    assert all(block["text"].strip() for block in comment_blocks(text, html))


class FormerReader(HTMLParser):
    """What read HTML before, as it is understood; it searched through everything open, for each tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[dict[str, Any]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.text.append("\n")
        elif tag in html_blocks._BLOCKS or tag in html_blocks._SILENT:
            self.end_block()
            if tag != "hr":
                self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.end_block()
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if html_blocks._SILENT.isdisjoint(self.open):
            self.text.append(data if "pre" in self.open else re.sub(r"\s+", " ", data))

    def end_block(self) -> None:
        content = "".join(self.text)
        content = content.strip("\n") if "pre" in self.open else re.sub(r" *\n *", "\n", content).strip()
        self.text.clear()
        heading = next((tag for tag in reversed(self.open) if tag in html_blocks._HEADINGS), None)
        if not content.strip():
            return
        if "blockquote" in self.open:
            self.blocks.append({"type": "quote", "text": content})
        elif "pre" in self.open:
            self.blocks.append({"type": "code", "text": content})
        elif heading is not None:
            self.blocks.append({"type": "heading", "level": html_blocks._HEADINGS[heading], "text": content})
        else:
            self.blocks.append({"type": "listItem" if "li" in self.open else "paragraph", "text": content})


def former_start_of_quote(lines: list[str]) -> int:
    def begins(index: int, line: str) -> bool:
        rest = [one for one in lines[index:] if one.strip()]
        quotes = former_bodies._QUOTES.match(line.strip()) is not None
        return quotes or (line.startswith(">") and all(one.startswith(">") for one in rest))

    return next((index for index, line in enumerate(lines) if begins(index, line)), len(lines))


TAGS = st.sampled_from(["p", "div", "br", "hr", "b", "h1", "H2", "li", "pre", "blockquote", "title", "style", "o:p"])
ATTRIBUTES = st.sampled_from(["", " a", ' a="b>c"', " a='\"'", " a = x", ' a="" b', "\n", " it's"])
PIECES = st.one_of(
    st.tuples(TAGS, ATTRIBUTES).map(lambda tag: f"<{tag[0]}{tag[1]}>"),
    TAGS.map(lambda tag: f"</{tag}>"),
    TAGS.map(lambda tag: f"<{tag}/>"),
    st.sampled_from(
        ["a", " ", "\n", "  x ", "&amp;", "&nbsp;y", "1 < 2 > 0", "<!-- <p>no -->", "<!doctype html>", "<?x?>"]
    ),
    st.sampled_from(["<style>p > b {}</style>", "<script>1 < 2</script>", "<![if !mso]>", "<![endif]>", "</ >", "<"]),
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_html_says_what_it_said_to_the_standard_librarys_parser(html: str) -> None:
    former = FormerReader()
    former.feed(html)
    former.close()
    former.end_block()
    assert comment_blocks("", html) == former_comment_blocks("", html) == (former.blocks if html.strip() else [])


@given(st.lists(st.sampled_from(["", " ", ">", "> q", "a", "On 1 Mai, B wrote:", " >x"]), max_size=9))
def test_a_quoted_tail_begins_where_it_began(lines: list[str]) -> None:
    assert former_bodies._start_of_quote(lines) == former_start_of_quote(lines)


class _Counted:
    """A pattern, or a text, that counts the characters that are looked at."""

    looked_at = 0

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern

    def search(self, text: str, start: int) -> re.Match[str] | None:
        found = self.pattern.search(text, start)
        _Counted.looked_at += (len(text) if found is None else found.end()) - start
        return found

    def match(self, text: str, start: int) -> re.Match[str] | None:
        found = self.pattern.match(text, start)
        _Counted.looked_at += 1 if found is None else found.end() - start
        return found


class _Text(str):
    __slots__ = ()

    def find(self, part: str, start: int = 0) -> int:  # type: ignore[override]
        found = str.find(self, part, start)
        _Counted.looked_at += (len(self) if found < 0 else found) - start
        return found

    def index(self, part: str, start: int = 0) -> int:  # type: ignore[override]
        return self.find(part, start)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("_TAG", "_NAME", "_QUOTE_OR_END"):
        monkeypatch.setattr(html_pieces, name, _Counted(getattr(html_pieces, name)))

    def of(html: str) -> int:
        _Counted.looked_at = 0
        list(html_pieces.html_pieces(_Text(html)))
        return _Counted.looked_at

    return of


ODD = [
    '<a ="> <a "',
    "<",
    "<!",
    "<!--",
    '<a b="c ',
    "</",
    "<?",
    "<![",
    "<a",
    "<a/",
    "<a='",
    "<a='>",
    "<script>",
    "<a x = ",
    "</a <",
]


@pytest.mark.parametrize("end", ["", ">", "='>'", "-->", '">'], ids=range(5))
@pytest.mark.parametrize("odd", ODD)
def test_html_of_any_oddity_is_read_in_time_that_grows_as_it_does(looked_at: Any, odd: str, end: str) -> None:
    # Each of these took the standard library's parser seconds, the square of its length.
    assert looked_at(odd * 4000 + end) < 6 * len(odd) * 4000 + 100


@pytest.mark.parametrize("blank", ["\f", "\r", "\v", "\N{NO-BREAK SPACE}"])
def test_a_tag_of_many_values_that_closes_itself_is_read_at_once(blank: str) -> None:
    # Behind each `=` a `/` was looked for again: a page of 250 KB was minutes, and the run that read it stood still.
    html = f"<p>before<a {'=' * 40_000}{blank}/>after"
    begun = thread_time()
    assert comment_blocks("", html) == [{"type": "paragraph", "text": "beforeafter"}]
    assert thread_time() - begun < 1


@given(st.text(alphabet="=/ab \f\r'\">", max_size=12))
def test_a_value_without_quotes_has_a_stroke_where_it_had_one(attributes: str) -> None:
    former = re.compile(r"=[^\s\"'>]*/")
    assert bool(html_pieces._UNQUOTED.search(attributes)) == bool(former.search(attributes))


class _NotSearched(list[str]):
    def __contains__(self, _: object) -> bool:
        raise AssertionError("everything open is searched through")

    __iter__ = __reversed__ = __contains__  # type: ignore[assignment]


def test_no_tag_searches_through_everything_that_is_open() -> None:
    reader = html_blocks.BlockReader()
    reader.open = _NotSearched()
    reader.headings = _NotSearched()
    for tag in ("div", "h1", "blockquote", "p", "pre", "title"):
        reader.start(tag)
        reader.data("x")
        reader.end("li")
    reader.end("blockquote")
    assert reader.open[:] == ["div", "h1"]


class _Line(str):
    __slots__ = ()
    strips = 0

    def strip(self, characters: str | None = None) -> str:
        _Line.strips += 1
        return str.strip(self, characters)

    def lstrip(self, characters: str | None = None) -> str:
        _Line.strips += 1
        return str.lstrip(self, characters)


@pytest.mark.parametrize(
    "few",
    [
        ["a line"],
        ["> quoted"],
        ["On 1 " + "x" * 70],
        ["On 1 " + "x" * 70, "y" * 70, "z"],
        ["_" * 20, ""],
        ["From: x"],
        ["On 1 May he wrote:", "> what", ""],
    ],
)
def test_a_line_is_looked_at_a_few_times_however_many_there_are(few: list[str]) -> None:
    lines = [_Line(line) for line in few * 3000] + [_Line("an answer below")]
    _Line.strips = 0
    assert email_quotes.quoted_lines(lines)[-1] is False
    assert _Line.strips <= 6 * len(lines)


def test_several_long_mails_are_several_workflow_tasks() -> None:
    one = {"type": "email.parseBody", "config": {"text": {"$expr": "payload.mail"}, "saveAs": "vars.mail"}}
    plan = compile_plan(parse_definition(document(*[one] * 4)), JlensEngine())
    state = initial_state(plan, Run().state.identity, payload={"mail": "a line\n" * 10_000}, meta={}, started_at=0)
    turns = 0
    while state.outcome is None:
        state, _ = step(plan, state, Begin(turns), max_effort=64)
        turns += 1
    assert turns == 5
