"""A corpus of bad input: each case is handled, or refused in one line with exit code 2.

Nothing is run that a file holds, nothing fetched that was not named, nothing written but where the
command says so, and no more is taken than a gigabyte of memory and ten seconds.

    python -m tests.bad_inputs          runs all, and prints what is wrong and a count by kind
    python -m tests.bad_inputs logs     those whose name holds "logs"
"""
