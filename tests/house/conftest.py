from tests.line.conftest import make_bench, zygote  # noqa: F401 - fixtures of the line, used here too
