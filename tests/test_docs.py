"""docs/cli.md is what the command line says of itself."""

import shlex

import pytest

from tests.generate_cli_docs import PAGE, commands, render

PROMISED = {
    *("run", "shard", "train", "score", "inspect", "select", "export", "retrain", "probe"),
    *("compare", "report", "verify", "recipes", "doctor", "view", "ledger", "agree"),
}


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render(), "type 'make docs'"


def test_every_promised_command_is_there():
    assert set(commands()) >= PROMISED


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_an_example_that_parses(name):
    command = commands()[name]
    assert command.help
    text = command.epilog
    assert text.startswith(f"Example: `curate {name}")
    words = shlex.split(text.removeprefix("Example: `").removesuffix("`"))
    command.make_context(name, words[2:])
    page = PAGE.read_text(encoding="utf-8")
    assert f"\n## curate {name}\n" in page
    assert text in page


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_says_what_it_is_and_every_command_has_the_shared_ones(name):
    parameters = commands()[name].params
    assert all(p.help for p in parameters)
    given = {option for p in parameters for option in p.opts}
    assert {"--json", "--quiet", "-q", "--debug"} <= given
