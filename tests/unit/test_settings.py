"""Settings: sources and their order, one line for each wrong value, secrets that never show."""

import json
from pathlib import Path

import pytest

from app.machine import default_capacity, memory_mib, usable_cores
from app.settings import Settings, environment_names, shown_host
from app.settings_sources import SettingsError, load_settings, parser, unknown_names
from kame_core.options import Mode


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        for variable in environment_names(name):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def problems(**flags: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags)
    return caught.value.problems


def test_defaults_serve_on_this_machine_only() -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.shown_url == "http://localhost:8080"
    assert settings.llm == settings.stt == settings.tts == settings.frontend == "auto"
    assert settings.log_content is False


def test_command_line_wins_over_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("KAME_PORT=1001\nKAME_LANGUAGE=de\nKAME_MODE=direct\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("KAME_PORT", "1002")
    monkeypatch.setenv("KAME_MODE", "CASCADED")
    settings = load_settings({"port": "1003"})
    assert (settings.port, settings.mode, settings.language) == (1003, Mode.CASCADED, "de")


def test_usual_names_work_and_own_names_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "5000")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1/")
    monkeypatch.setenv("OPENAI_MODEL", "one")
    monkeypatch.setenv("KAME_LLM_MODEL", "two")
    settings = load_settings()
    assert (settings.port, settings.openai_base_url, settings.llm_model) == (5000, "http://localhost:11434/v1", "two")


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("KAME_PORT", "")
    settings = load_settings()
    assert settings.openai_api_key is None
    assert settings.port == 8080


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-do-not-show")
    settings = load_settings({"api_key": "a-very-secret-key", "turn_secret": "turn-do-not-show"})
    shown = f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "do-not-show" not in shown
    assert "a-very-secret" not in shown
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-do-not-show"


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValueError):
        settings.port = 1


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("KAME_PORT", "99999", "0 to 65535"),
        ("KAME_PORT", "http", "whole number"),
        ("KAME_FRONTEND", "moshy", "auto, reflex, moshi or echo"),
        ("KAME_MODE", "tandm", "tandem, direct or cascaded"),
        ("KAME_LOG_JSON", "perhaps", "true or false"),
        ("KAME_LLM_FALLBACKS", "small, other@http://", "MODEL@URL or offline"),
        ("KAME_LLM_REASONING_EFFORT", "lots", "minimal, low"),
        ("KAME_TOOLS", "my_tools", "package.module:name"),
        ("KAME_PRESET", "pirate", "assistant, interpreter, tutor or customer_service"),
        ("KAME_SECOND_LANGUAGE", "spanish please", "language tag"),
        ("KAME_KNOWLEDGE_FILE", "missing.txt", "UTF-8 text"),
        ("KAME_CAPACITY", "0", "1 or more"),
        ("KAME_OPENAI_BASE_URL", "localhost:11434", "http://localhost:11434/v1"),
        ("KAME_PUBLIC_URL", "voice.example.org", "https://voice.example.org"),
        ("KAME_ALLOWED_ORIGINS", "https://a.example/path", "origins such as"),
        ("KAME_ALLOWED_ORIGINS", "https://a.example, https://*.example.org", "https://*.example.org is no origin"),
        ("KAME_ALLOWED_ORIGINS", "https://a.example:abc", "origins such as"),
        ("KAME_ALLOWED_ORIGINS", "ftp://a.example", "origins such as"),
        ("KAME_OPENAI_BASE_URL", "http://localhost:abc/v1", "http://localhost:11434/v1"),
        ("KAME_API_KEY", "short", "16 characters"),
        ("KAME_LANGUAGE", "english please", "language tag"),
        ("KAME_MAX_CALL_S", "0", "1 to 86400"),
        ("KAME_ICE_SERVERS", "http://example.org", "stun:stun.example.org"),
        ("KAME_ICE_SERVERS", "[{]", "JSON list"),
    ],
)
def test_a_wrong_value_gives_one_line_that_says_what_is_right(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    (line,) = problems()
    assert line.startswith(f"{variable}: ")
    assert words in line
    assert "\n" not in line


def test_a_wrong_flag_is_named_as_the_flag() -> None:
    (line,) = problems(max_call_s="soon")
    assert line.startswith("--max-call-s: it is no number; give ")


def test_every_wrong_value_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAME_TTS", "parrot")
    monkeypatch.setenv("KAME_STT", "parrot")
    assert sorted(line.split(":")[0] for line in problems(port=-1)) == ["--port", "KAME_STT", "KAME_TTS"]


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAME_API_KEY", "hush-hush")
    assert "hush-hush" not in " ".join(problems())


def test_lists_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAME_ALLOWED_ORIGINS", "https://A.example:443, http://localhost:5173/ *")
    monkeypatch.setenv("KAME_ICE_SERVERS", json.dumps([{"urls": "stun:stun.example.org"}]))
    settings = load_settings()
    assert settings.allowed_origins == ("https://a.example", "http://localhost:5173", "*")
    assert "stun.example.org" in settings.ice_servers


def test_fallbacks_and_the_knowledge_file_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("shop.txt").write_text("Open from nine to five.", encoding="utf-8")
    monkeypatch.setenv("KAME_KNOWLEDGE_FILE", "shop.txt")
    monkeypatch.setenv("KAME_LLM_FALLBACKS", "small, other@http://localhost:11434/v1,offline")
    settings = load_settings()
    assert settings.knowledge == "Open from nine to five."
    assert settings.llm_fallbacks == ("small", "other@http://localhost:11434/v1", "offline")
    assert load_settings({"knowledge_file": None}).knowledge == ""
    Path("shop.txt").write_text("x" * 12_001, encoding="utf-8")
    (line,) = problems()
    assert line.startswith("KAME_KNOWLEDGE_FILE: it has 12001 characters; give ")


def test_misspelt_variables_are_told_wherever_they_stand() -> None:
    Path(".env").write_text("KAME_API_KEEY=0123456789abcdef\nkame_host=::1\nDOMAIN=voice.example.org\n")
    lines = unknown_names({"KAME_PROT": "1", "KAME_PORT": "1", "KAME_XYZZY_PLUGH": "1", "PATH": "/"})
    assert lines == [
        "KAME_API_KEEY: there is no such setting; is KAME_API_KEY meant?",
        "KAME_PROT: there is no such setting; is KAME_PORT meant?",
        "KAME_XYZZY_PLUGH: there is no such setting.",
    ]
    assert len(unknown_names({"KAME_PROT": "1"}, env_file=None)) == 1


def test_a_file_that_is_no_utf8_is_named() -> None:
    Path(".env").write_bytes(b"KAME_GREETING=Gr\xfc\xdf Gott\n")
    assert problems() == (".env: it is no UTF-8 text; save it as UTF-8.",)


def test_every_setting_has_a_flag_with_help_and_a_right_value() -> None:
    help_text = " ".join(parser().format_help().split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in help_text
        assert field.description, name
        assert f"[{', '.join(environment_names(name))}]" in help_text.replace("- ", "-")


def test_flags_are_parsed_by_name() -> None:
    flags = vars(parser().parse_args(["doctor", "--port", "9", "--no-opener", "--frontend", "echo"]))
    assert flags == {"command": "doctor", "port": "9", "opener": False, "frontend": "echo"}
    assert vars(parser().parse_args([])) == {"command": "serve"}


def test_shown_hosts() -> None:
    assert shown_host("0.0.0.0") == shown_host("::") == shown_host("127.0.0.1") == "localhost"
    assert shown_host("192.0.2.7") == "192.0.2.7"
    assert shown_host("2001:db8::1") == "[2001:db8::1]"
    assert load_settings({"public_url": "https://voice.example.org/"}).shown_url == "https://voice.example.org"


def test_container_limits_count(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("50000 100000\n")
    assert usable_cores(quota) == 0.5
    quota.write_text("max 100000\n")
    assert usable_cores(quota) >= 1
    assert usable_cores(tmp_path / "missing") >= 1
    memory = tmp_path / "memory.max"
    memory.write_text(str(256 * 2**20))
    assert memory_mib(memory) == 256
    memory.write_text("max\n")
    assert memory_mib(memory) > 256


def test_capacity_is_derived_or_given() -> None:
    assert load_settings().calls_at_once == default_capacity() >= 1
    assert load_settings({"capacity": 3}).calls_at_once == 3
