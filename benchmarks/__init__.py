"""What measures lawm."""

if __name__ != "lawm.benchmarks":
    raise ImportError("Import lawm.benchmarks: benchmarks alone is not a package.")
