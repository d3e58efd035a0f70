"""Formulas as MathML: the plain text of a table of quantities, `tr(Sw Sb^+)/c`, as a reader expects it in print.

The notation: letters are variables, `_i`, `_{i<j}` and `^2` below and above, `'` a transpose, `|x|` a norm or an
absolute value. A slash without spaces divides its two neighbours, one between spaces all that stands left and right of
it, up to the next sum, comma or bracket. Words that are no operators are text.
"""

import html
import re
from dataclasses import dataclass

FUNCTIONS = frozenset(
    [
        "tr",
        "log",
        "log2",
        "exp",
        "max",
        "min",
        "mean",
        "std",
        "median",
        "cos",
        "rank",
        "argmax",
        "variance",
        "prod",
        "sum",
        "sqrt",
        "conv",
        "dist",
        "relu",
        "KS",
        "CKA",
    ]
)
SYMBOLS = {"lambda": "\u03bb", "sigma": "\u03c3", "rho": "\u03c1", "beta": "\u03b2", "sum": "\u2211", "prod": "\u220f"}
NAMES = {"Sw": ("S", "w"), "Sb": ("S", "b"), "St": ("S", "t"), "Mc": ("M", "c")}
OPERATORS = {"-": "\u2212", ">=": "\u2265", "<=": "\u2264", ".": "\u22c5"}
TOKEN = re.compile(
    r"\s+|\d+(?:\.\d+)?(?:e-?\d+)?%?|[^\W\d_]+(?:-[^\W\d_]{2,})+|[^\W\d_]{2,}'s|[^\W\d_]+\d*|>=|<=|.", re.DOTALL
)
GAP = '<mspace width=".25em"/>'
PRODUCT = re.compile(r"(?:Mc|[WMJDI])+")
CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass
class _Node:
    """A piece of MathML: an "atom", a "function" that waits for its argument, an "operator", a "slash" or "text"."""

    kind: str
    markup: str
    bare: str = ""  # of brackets, what is inside
    spaced: bool = False


def mathml(formula: str) -> str:
    """A formula of a table of quantities as MathML; a sentence, which ends with a point, as it is."""
    if formula.endswith("."):
        return html.escape(formula)
    reader = _Reader(TOKEN.findall(formula))
    return f'<math displaystyle="true">{_row(reader.nodes(""))}</math>'


class _Reader:
    """Walks once through the tokens of a formula."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def nodes(self, end: str) -> list[_Node]:
        """What stands up to the closing sign, which is left."""
        found: list[_Node] = []
        spaced = False
        while self.peek() and not (self.peek() == end and (end != "|" or self.closes(found))):
            token = self.next()
            if token.isspace():
                spaced = True
                continue
            node = self.node(token, found)
            node.spaced = spaced
            found.append(node)
            spaced = False
        return found

    def closes(self, before: list[_Node]) -> bool:
        """Whether the bar that comes ends a norm: it follows an operand at once."""
        return _operand(before) and not self.tokens[self.at - 1].isspace()

    def node(self, token: str, before: list[_Node]) -> _Node:
        if token in CLOSING:
            return self.scripts(self.bracket(token))
        apart = self.at > 1 and self.tokens[self.at - 2].isspace() and not self.peek().isspace()
        if token == "|" and (apart or not _operand(before)) and "|" in self.tokens[self.at :]:
            return self.scripts(self.norm())
        if token == "/":
            return _Node("slash", "<mo>/</mo>")
        if token[0].isdigit():
            return self.scripts(_Node("atom", _number(token)))
        if token[0].isalpha():
            return self.word(token)
        sign = f"<mo>{html.escape(OPERATORS.get(token, token))}</mo>"
        return _Node("operator", sign + GAP if token == "," else sign)

    def bracket(self, opening: str) -> _Node:
        inside = self.nodes(CLOSING[opening])
        closing = self.next() if self.peek() else ""
        bare = _row(inside)
        return _Node("atom", f"<mrow><mo>{opening}</mo>{bare}<mo>{closing}</mo></mrow>", bare)

    def norm(self) -> _Node:
        inside = self.nodes("|")
        self.next() if self.peek() else None
        sign = "\u2225" if self.peek() == "_" else "|"
        bar = f"<mo>{sign}</mo>"
        return _Node("atom", f"<mrow>{bar}{_row(inside)}{bar}</mrow>")

    def word(self, token: str) -> _Node:
        if token == "sqrt" and self.peek() == "(":
            self.next()
            return self.scripts(_Node("atom", f"<msqrt>{self.bracket('(').bare}</msqrt>"))
        if token in FUNCTIONS:
            shown = SYMBOLS.get(token, token)
            base = f"<mo>{shown}</mo>" if token in SYMBOLS else f"<mi>{shown.rstrip('2')}</mi>"
            found = self.scripts(_Node("function", base), "<mn>2</mn>" if token == "log2" else "")
            return self.applied(found) if self.peek() in ("(", "{") else found
        if token in NAMES:
            base, below = NAMES[token]
            return self.scripts(_Node("atom", f"<mi>{base}</mi>"), f"<mi>{below}</mi>")
        if len(token) > 1 and PRODUCT.fullmatch(token):  # WMc is a product, and a transpose is of its last factor
            parts = [(name[0], "<mi>c</mi>" if name == "Mc" else "") for name in re.findall("Mc|[A-Z]", token)]
            *first, last = [_Node("atom", f"<mi>{letter}</mi>") for letter, _ in parts]
            made = [_scripted(node, below, "").markup for node, (_, below) in zip(first, parts)]
            return _Node("atom", "".join(made) + self.scripts(last, parts[-1][1]).markup)
        if len(token) == 1 or token in SYMBOLS:
            return self.applied(self.scripts(_Node("atom", f"<mi>{SYMBOLS.get(token, html.escape(token))}</mi>")))
        if len(token) == 2 and token[1].isdigit():  # p0
            return self.scripts(_Node("atom", f"<msub><mi>{html.escape(token[0])}</mi><mn>{token[1]}</mn></msub>"))
        return self.scripts(_Node("text", f"<mi>{html.escape(token)}</mi>"))

    def applied(self, function: _Node) -> _Node:
        """A function with the bracket that follows at once."""
        if self.peek() not in ("(", "{", "["):
            return function
        argument = self.scripts(self.bracket(self.next()))
        return _Node("atom", f"<mrow>{function.markup}{argument.markup}</mrow>")

    def scripts(self, base: _Node, below: str = "") -> _Node:
        """A piece with what stands below and above it, and primes."""
        above = ""
        while self.peek() in ("_", "^", "'") and self.peek():
            sign = self.next()
            if sign == "'":
                above += "<mo>\u22a4</mo>"
                continue
            token = self.next() if self.peek() else ""
            if token in ("{", "("):
                script = self.bracket(token).bare
            elif token == "-":
                script = f"<mo>\u2212</mo>{_number(self.next())}"
            elif token[:1].isdigit():
                script = _number(token)
            elif token == "+":
                script = "<mo>+</mo>"
            else:  # ij is two indices
                script = "".join(f"<mi>{html.escape(letter)}</mi>" for letter in token)
            below, above = (script, above) if sign == "_" else (below, script)
        return _scripted(base, below, above)


def _scripted(base: _Node, below: str, above: str) -> _Node:
    if not (below or above):
        return base
    tag = "msubsup" if below and above else "msub" if below else "msup"
    parts = "".join(_single(part) for part in (below, above) if part)
    kind = "atom" if base.kind == "text" else base.kind
    return _Node(kind, f"<{tag}>{base.markup}{parts}</{tag}>")


def _single(markup: str) -> str:
    """Markup as one element, which scripts and fractions take."""
    alone = re.fullmatch(r"<(\w+)>[^<>]*</\1>|<mrow>((?!<mrow>).)*</mrow>", markup)
    return markup if alone else f"<mrow>{markup}</mrow>"


def _operand(nodes: list[_Node]) -> bool:
    """Whether what stands last can end a norm."""
    return bool(nodes) and nodes[-1].kind in ("atom", "text")


def _number(token: str) -> str:
    mantissa, _, exponent = token.partition("e")
    if not exponent:
        return f"<mn>{html.escape(token)}</mn>"
    power = f"<msup><mn>10</mn><mrow><mn>{exponent.replace('-', chr(0x2212))}</mn></mrow></msup>"
    return power if mantissa == "1" else f"<mn>{mantissa}</mn><mo>\u00d7</mo>{power}"


def _row(nodes: list[_Node]) -> str:
    """Pieces in a row, divisions as fractions."""
    parts: list[str] = []
    chain: list[_Node] = []
    for node in [*nodes, _Node("operator", "")]:
        if node.kind == "operator":
            parts += [_chain(chain), node.markup]
            chain = []
        else:
            chain.append(node)
    return f"<mrow>{''.join(parts)}</mrow>"


def _chain(nodes: list[_Node]) -> str:
    """A product: with a slash between spaces one fraction, else its neighbours as fractions."""
    wide = next((i for i, node in enumerate(nodes) if node.kind == "slash" and node.spaced), None)
    if wide is not None and 0 < wide < len(nodes) - 1:
        return _fraction(_chain(nodes[:wide]), _chain(nodes[wide + 1 :]))
    made: list[_Node] = []
    i = 0
    while i < len(nodes):
        node = nodes[i]
        if node.kind == "slash" and made and i + 1 < len(nodes):
            left, right = made.pop(), nodes[i + 1]
            node = _Node("atom", _fraction(left.bare or left.markup, right.bare or right.markup))
            i += 1
        made.append(node)
        i += 1
    text = ""
    for k, node in enumerate(made):
        gap = k and {node.kind, made[k - 1].kind} & {"text", "function"} and node.kind != "slash"
        if gap and node.kind == made[k - 1].kind == "text":
            text = text.removesuffix("</mi>") + node.markup.replace("<mi>", " ", 1)
        else:
            text += (GAP if gap else "") + node.markup
    return text


def _fraction(above: str, below: str) -> str:
    return f"<mfrac>{_single(above)}{_single(below)}</mfrac>"
