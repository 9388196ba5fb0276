"""Options of the test suite."""


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write what the tests expect from what they see"
    )
