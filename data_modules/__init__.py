"""Trajectories on disk to batches."""

if __name__ != "lawm.data_modules":
    raise ImportError("Import lawm.data_modules: data_modules alone is not a package.")
