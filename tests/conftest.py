"""Options of the test suite."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # decided when kernels are imported; no test has a GPU
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of workers that share the cores wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write what the tests expect from what they see"
    )
