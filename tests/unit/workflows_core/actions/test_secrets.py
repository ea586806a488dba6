"""Where secrets come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflows_core.actions.ports import SecretProvider
from workflows_core.actions.secrets import MAX_SECRET_BYTES, SECRET_NAME, ChainSecrets, FileSecrets, MappingSecrets
from workflows_core.errors import ActionFailed, ErrorCategory, Refused


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.asyncio
async def test_a_tenants_file_comes_before_the_installations(tmp_path: Path) -> None:
    write(tmp_path / "API_KEY", b"everyone's")
    write(tmp_path / "acme" / "API_KEY", b"acme's")
    write(tmp_path / "acme" / "OWN", b"acme's own")
    secrets = FileSecrets(tmp_path)
    assert await secrets.get("acme", "API_KEY") == "acme's"
    assert await secrets.get("other", "API_KEY") == "everyone's"
    assert await secrets.get("other", "OWN") is None
    assert await secrets.get("acme", "MISSING") is None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"v", "v"),
        (b"v\n", "v"),
        (b"v\r\n", "v"),
        (b"v\n\n", "v\n"),
        (b" v ", " v "),
        ("ä\u20ac".encode(), "ä€"),
        (b"x" * MAX_SECRET_BYTES, "x" * MAX_SECRET_BYTES),
        (b"x" * MAX_SECRET_BYTES + b"\r\n", "x" * MAX_SECRET_BYTES),
    ],
)
async def test_one_line_break_at_the_end_is_not_part_of_it(tmp_path: Path, content: bytes, value: str) -> None:
    write(tmp_path / "A", content)
    assert await FileSecrets(tmp_path).get("acme", "A") == value


@pytest.mark.asyncio
async def test_a_changed_file_works_at_once(tmp_path: Path) -> None:
    secrets = FileSecrets(tmp_path)
    write(tmp_path / "A", b"old")
    assert await secrets.get("acme", "A") == "old"
    write(tmp_path / "A", b"new")
    assert await secrets.get("acme", "A") == "new"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * (MAX_SECRET_BYTES + 1), "is larger than 65536 bytes"),
        ("€".encode() * MAX_SECRET_BYTES, "is larger than 65536 bytes"),
    ],
)
async def test_an_unusable_file_is_a_failure_without_its_content(tmp_path: Path, content: bytes, says: str) -> None:
    write(tmp_path / "A", content)
    with pytest.raises(ActionFailed, match=f"^secret A {says}$") as failed:
        await FileSecrets(tmp_path).get("acme", "A")
    assert failed.value.failure.code == "SECRET_UNUSABLE"
    assert failed.value.failure.category == ErrorCategory.VALIDATION


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_read_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "A").symlink_to(tmp_path / "A")
    with pytest.raises(ActionFailed, match=r"^secret A cannot be read by this process$") as failed:
        await FileSecrets(tmp_path).get("acme", "A")
    assert failed.value.failure.category == ErrorCategory.TRANSIENT


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["../A", "a", "", "A/B", "A.B", "A\x00", "1A", "A" * 256, "A\n"])
async def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    write(tmp_path / "A", b"outside")
    write(tmp_path / "inside" / "B", b"b")
    assert await FileSecrets(tmp_path / "inside").get("acme", name) is None


@pytest.mark.asyncio
@pytest.mark.parametrize("tenant", ["..", ".", "", "../other", "/", "a/b", "a\x00"])
async def test_no_tenant_leads_out_of_the_directory(tmp_path: Path, tenant: str) -> None:
    write(tmp_path / "OUTSIDE", b"outside")
    write(tmp_path / "a" / "b" / "OUTSIDE", b"outside")
    assert await FileSecrets(tmp_path / "inside").get(tenant, "OUTSIDE") is None


@pytest.mark.asyncio
async def test_a_tenants_folder_is_no_secret(tmp_path: Path) -> None:
    write(tmp_path / "ACME" / "A", b"a")
    assert await FileSecrets(tmp_path).get("other", "ACME") is None


@pytest.mark.asyncio
async def test_a_mapping_serves_every_tenant_and_never_shows_values() -> None:
    secrets = MappingSecrets({"A": "value-of-a", "B": "value-of-b"})
    assert await secrets.get("acme", "A") == "value-of-a"
    assert await secrets.get("acme", "C") is None
    assert repr(secrets) == "MappingSecrets(A, B)"


def test_a_mapping_names_every_wrong_entry_and_no_value() -> None:
    with pytest.raises(Refused) as refused:
        MappingSecrets({"a": "canary", "B": "", "C": "canary" * MAX_SECRET_BYTES, "D": "fine"})
    assert [(p.path, p.code) for p in refused.value.problems] == [
        ("a", "INVALID_SECRET_NAME"),
        ("B", "SECRET_UNUSABLE"),
        ("C", "SECRET_UNUSABLE"),
    ]
    assert "canary" not in str(refused.value)


@pytest.mark.asyncio
async def test_in_a_chain_the_first_that_has_it_gives_it(tmp_path: Path) -> None:
    write(tmp_path / "A", b"file")
    write(tmp_path / "EMPTY", b"")
    chain: SecretProvider = ChainSecrets(
        FileSecrets(tmp_path), MappingSecrets({"A": "map", "B": "map", "EMPTY": "map"})
    )
    assert await chain.get("acme", "A") == "file"
    assert await chain.get("acme", "B") == "map"
    assert await chain.get("acme", "C") is None
    with pytest.raises(ActionFailed):
        await chain.get("acme", "EMPTY")


def test_the_longest_name() -> None:
    assert SECRET_NAME.fullmatch("A" * 255)
    assert not SECRET_NAME.fullmatch("A" * 256)
