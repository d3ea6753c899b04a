"""What watches training."""

if __name__ != "lawm.callbacks":
    raise ImportError("Import lawm.callbacks: callbacks alone is not a package.")
