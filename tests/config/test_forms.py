"""What the text of a setting may look like: those of metrics; the others are met where they are used."""

from pathlib import Path

import pytest

from etl.config.forms import parse_listen, parse_textfile


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9477", ("127.0.0.1", 9477)),
        ("127.1.2.3:1", ("127.1.2.3", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("localhost:9477", ("127.0.0.1", 9477)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
    ],
)
def test_metrics_are_served_at_an_address_and_port_of_this_machine(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:9477",
        "[::]:9477",
        "192.168.1.5:9477",
        "example.org:9477",
        "localhost.example.org:1",
        "[::ffff:8.8.8.8]:1",
    ],
)
def test_metrics_are_not_served_to_the_world(text: str) -> None:
    with pytest.raises(ValueError, match="this machine itself"):
        parse_listen(text)


@pytest.mark.parametrize(
    "text",
    [
        "9477",
        ":9477",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:١",
        "::1:9477",
        "127.0.0.1:9477/x",
        "[::1]",
    ],
)
def test_what_is_no_address_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:9477"):
        parse_listen(text)


def test_a_textfile_is_one_that_node_exporter_would_read(tmp_path: Path) -> None:
    assert parse_textfile(f"{tmp_path}/a.prom") == tmp_path / "a.prom"
    assert parse_textfile("~/a.prom") == Path.home() / "a.prom"
    (tmp_path / "directory.prom").mkdir()
    for text in (f"{tmp_path}/a.txt", f"{tmp_path}", f"{tmp_path}/.prom", f"{tmp_path}/directory.prom"):
        with pytest.raises(ValueError, match=r"end in \.prom"):
            parse_textfile(text)
