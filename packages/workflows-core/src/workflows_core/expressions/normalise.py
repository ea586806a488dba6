"""What an authored source may call, and what it says otherwise than JSONata."""

from __future__ import annotations

from workflows_core.definitions.spelling import nearest
from workflows_core.expressions.edits import Edit
from workflows_core.expressions.engine import ExpressionInvalid
from workflows_core.expressions.functions import ALLOWED_FUNCTIONS, CUSTOM_FUNCTIONS, REFUSED_FUNCTIONS
from workflows_core.expressions.tokens import DEFINING, Token

_OPERATOR_WORDS = ("and", "or", "in")
_QUICKER = {
    "$distinct": "(function($_d) {($_u := $_unique($_d); $type($_u) = 'array' ? $_u : $distinct($_d))})",
    "$keys": "(function($_o){($_n := $_names($_o); $type($_n) = 'array' ? $_n : $keys($_o))})",
}
"""In these the engine compares each item with each; ours do not, and say nothing where the engine is quick."""


def normalising_edits(tokens: list[Token]) -> list[Edit]:
    """Checks every function by name, gives the custom ones their `$`, turns `==` into `=`; literals stay as they are.

    Raises:
        ExpressionInvalid: A function that is not allowed, with its position.
    """
    edits: list[Edit] = []
    local = _local_names(tokens)
    for index, token in enumerate(tokens):
        if token.kind == "variable":
            _check_variable(token, local)
            if token.text == "$nowIso":
                edits.append(Edit(token.start, token.end, "$now"))
            elif token.text in _QUICKER and token.text not in local:
                edits.append(Edit(token.start, token.end, _QUICKER[token.text]))
                opening, closing = [*tokens[index + 1 : index + 3], None, None][:2]
                if opening is not None and closing is not None and (opening.text, closing.text) == ("(", ")"):
                    edits.append(Edit(closing.start, closing.start, "$"))  # The item at hand, as JSONata does.
        elif token.kind == "name" and _is_call(tokens, index):
            if token.text not in CUSTOM_FUNCTIONS:
                raise ExpressionInvalid(_refusal(token.text), token.start)
            edits.append(Edit(token.start, token.end, "$now" if token.text == "nowIso" else f"${token.text}"))
    edits.extend(_equality_edits(tokens))
    return edits


def _equality_edits(tokens: list[Token]) -> list[Edit]:
    # Pairs from the left, as the original's text replacement does: `!==` is `!=`, `===` stays wrong.
    edits: list[Edit] = []
    previous: Token | None = None
    for token in tokens:
        ends_equal = token.kind == "operator" and token.text in ("=", ":=")
        if token.text == "=" and ends_equal and previous is not None and previous.end == token.start:
            edits.append(Edit(token.start, token.end, ""))
            previous = None
        else:
            previous = token if ends_equal else None
    return edits


def _is_call(tokens: list[Token], index: int) -> bool:
    following = tokens[index + 1] if index + 1 < len(tokens) else None
    if following is None or following.kind != "operator" or following.text != "(":
        return False
    token = tokens[index]
    if token.text in DEFINING:
        return False
    # A word operator is one where a value precedes it: `a and (b)`.
    return token.is_operand or token.text not in _OPERATOR_WORDS


def _local_names(tokens: list[Token]) -> set[str]:
    names: set[str] = set()
    in_parameters = False
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.text == "(" and before is not None and before.kind == "name" and before.text in DEFINING:
            in_parameters = True
        elif token.text == ")":
            in_parameters = False
        elif token.kind == "variable":
            is_assigned = after is not None and after.kind == "operator" and after.text == ":="
            is_position = before is not None and before.kind == "operator" and before.text in ("@", "#")
            if in_parameters or is_assigned or is_position:
                if token.text[1:] in (*CUSTOM_FUNCTIONS, *REFUSED_FUNCTIONS):
                    raise ExpressionInvalid(f"{token.text} cannot be redefined; choose another name", token.start)
                names.add(token.text)
    return names


def _check_variable(token: Token, local: set[str]) -> None:
    # Also a bare mention is checked, not only a call: `$map(items, $eval)` calls too.
    if token.text in ("$", "$$") or token.text in local:
        return
    name = token.text[1:]
    if name not in ALLOWED_FUNCTIONS:
        raise ExpressionInvalid(_refusal(name), token.start)


def _refusal(name: str) -> str:
    if name in ALLOWED_FUNCTIONS:
        return f"disallowed function: {name} is called as ${name}"
    if name in REFUSED_FUNCTIONS:
        return f"disallowed function: {name} would run code that no check at publish has seen"
    suggestion = nearest(name, ALLOWED_FUNCTIONS)
    hint = f"; did you mean ${suggestion}?" if suggestion else ""
    return f"disallowed function: {name} is neither an allowed function nor a variable defined here{hint}"
