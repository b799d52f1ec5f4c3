from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zulip_auth._redaction import Secret

PASSWORD = "correct horse/ & battery=+%é<'\"\\!"


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD, safe=""),
        quote(PASSWORD),
        quote(PASSWORD, safe="!~*'()"),
        quote_plus(PASSWORD),
        quote_plus(PASSWORD).lower(),
        json.dumps(PASSWORD),
        html.escape(PASSWORD),
        html.escape(PASSWORD).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        base64.b64encode(PASSWORD.encode()).decode(),
    ],
)
def test_each_form_of_a_secret_is_cut_out(form: str) -> None:
    cut = Secret(PASSWORD).cut_out(f"before {form} after {form}")
    if form.startswith('"'):  # which JSON puts around it
        form = form[1:-1]
    assert cut.replace('"', "") == "before [cut out] after [cut out]"


def test_the_longest_form_is_cut_out_first() -> None:
    assert Secret("x&").cut_out("x&amp; x& x%26") == "[cut out] [cut out] [cut out]"
    assert Secret("~'").cut_out("~' ~%27 ~&#39;") == "[cut out] [cut out] [cut out]"
    assert Secret("~&").cut_out("~& ~&amp;") == "[cut out] [cut out]"


def test_what_does_not_repeat_it_stays_as_it_is() -> None:
    words = "Your username or password is incorrect"
    assert Secret(PASSWORD).cut_out(words) == words


@given(st.text(min_size=1).filter(lambda text: text not in "[cut out]"), st.text(), st.text())
def test_no_text_keeps_a_secret(secret: str, before: str, after: str) -> None:
    try:
        secret.encode()
    except UnicodeEncodeError:
        return  # refused long before
    cut = Secret(secret).cut_out(before + secret + after)
    assert all(secret not in piece for piece in cut.split("[cut out]"))


def test_its_repr_does_not_show_it() -> None:
    assert repr(Secret(PASSWORD)) == str(Secret(PASSWORD)) == "Secret()"
