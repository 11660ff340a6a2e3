"""Forms are read in one pass, whatever is sent: no body costs more than its bytes."""

import sys
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from app.call_bodies import MAX_MULTIPART_BYTES, _form_parts, body_type
from kame_core.errors import InvalidRequestError

FORM = "multipart/form-data; boundary=b"
HEAD = b"Content-Disposition: form-data; name="
NESTED = b"".join(b"--b\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % number for number in range(1800))


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b'--b\r\n%s"sdp"\r\n\r\nv=0\r\n\r\nx\r\n--b--\r\n' % HEAD, {"sdp": b"v=0\r\n\r\nx"}),
        (b'before\n--b\n%s"sdp"\n\nv=0\n--b--\nbehind' % HEAD, {"sdp": b"v=0"}),
        (b'--b\r\nX: y\r\n%ssdp; filename="blob"\r\n\r\nv=0\r\n--b  \r\n\r\nnobody\r\n--b--' % HEAD, {"sdp": b"v=0"}),
        (b"--b\r\ncontent-disposition:form-data;filename=a;name=a\r\n\r\n\r\n--b\r\n%sa\r\n\r\n2" % HEAD, {"a": b""}),
        (b"--b\r\n%ssdp\r\n\r\n--bb\r\n --b\r\n--b--" % HEAD, {"sdp": b"--bb\r\n --b"}),
    ],
)
def test_a_form_is_cut_at_its_delimiters(body: bytes, parts: dict[str, bytes]) -> None:
    assert _form_parts(FORM, body) == parts
    assert _form_parts('multipart/form-data; charset=utf-8;BOUNDARY="b"', body) == parts


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n\r\n\r\n" * (MAX_MULTIPART_BYTES // 10),
        NESTED,
        b"--b\r\n" + HEAD + b"(" * 60_000 + b"\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data" + b"; a=b" * 12_000 + b"\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\n" + b"a:b\r\n" * 24_000 + b"\r\nx\r\n--b--\r\n",
        b"--b\r\n" + HEAD + b'"' + b"=?utf-8?q?a?= " * 4_000 + b'"\r\n\r\nx\r\n--b--\r\n',
        b"--b--\r\n",
        b"",
    ],
)
def test_hostile_forms_are_refused_with_bounded_work(body: bytes) -> None:
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        with pytest.raises(InvalidRequestError) as refused:
            _form_parts(FORM, body)
    finally:
        sys.setprofile(None)
    assert refused.value.code == "invalid_form"
    assert calls < 2_000  # the first time a boundary is seen, its pattern is compiled


@pytest.mark.parametrize("parameters", ["", "; boundary=b; x=" + "(" * 7_000, " ;" + "; a=b" * 1_500])
def test_a_type_is_read_whatever_parameters_it_has(parameters: str) -> None:
    request = make_mocked_request("POST", "/", headers={"Content-Type": "Multipart/Form-Data" + parameters})
    assert body_type(request) == "multipart/form-data"
