"""What is measured: a module for each library, a function for each way to do a job with it.

A function takes `Inputs`, does what is not timed, and returns `Timed`. It runs where its library is
installed, and imports nothing else but ``benchmarks``.
"""
