"""What compares floating point is run under other instruction sets too."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
# The faults train for minutes; of theirs only a training that goes on otherwise compares scores.
FAULTS = TESTS / "faults"


def test_every_module_that_compares_numbers_with_a_tolerance_is_marked_numeric():
    compares = re.compile(r"approx\(|allclose\(|isclose\(|assert_close\(")
    missing = [
        str(path.relative_to(TESTS))
        for path in sorted(TESTS.rglob("test_*.py"))
        if FAULTS not in path.parents
        and compares.search(text := path.read_text())
        and "pytestmark = pytest.mark.numeric" not in text
        and "pytestmark = pytest.mark.gpu" not in text  # no processor's instructions
    ]
    assert missing == [], "add: pytestmark = pytest.mark.numeric"
